//! Why the gateway itself answers instead of an upstream, and with what.
//!
//! The codes are stable: clients and dashboards may rely on them. One table, in the order of the
//! steps of a request.

use crate::idempotency::KeyFault;
use crate::path::TargetFault;
use http::StatusCode;
use tidegate_resilience::Code;
use tidegate_wire::parse::Refusal;

/// Why a request was not answered by an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The request breaks HTTP.
    Refused(Refusal),
    /// The target or its path is not acceptable.
    Target(TargetFault),
    /// Host is missing, repeated, malformed, or contradicts the target.
    Host,
    /// CONNECT, or `*` as target: a gateway is no forward proxy.
    TargetForm,
    /// An expectation other than 100-continue.
    Expectation,
    /// A protocol change that also has a body.
    UpgradeBody,
    /// The client was too slow with its request.
    ClientTimeout,
    /// The client gave the request up before it was answered.
    ClientLeft,
    /// No route matches.
    NoRoute,
    /// The path has an encoding that the route does not allow.
    PathEncoding,
    /// Its `Idempotency-Key`, or the want of one, stands in its way.
    Key(KeyFault),
    /// The request body is larger than allowed.
    BodyTooLarge,
    /// The request body broke off or is malformed.
    BodyBroken,
    /// Every connection is in use and the queue is full or too slow.
    PoolExhausted,
    /// No endpoint accepted a connection.
    Connect,
    /// No endpoint accepted a connection in time.
    ConnectTimeout,
    /// The upstream closed or failed before it answered.
    UpstreamClosed,
    /// The upstream's answer breaks HTTP.
    UpstreamRefused(Refusal),
    /// The upstream changed the protocol unasked, or sent too many interim answers.
    UpstreamProtocol,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The request took longer than its route allows.
    TotalTimeout,
    /// The upstream answered, with a status for which a fallback was to stand in.
    UpstreamStatus,
    /// A policy of the route did not let it through.
    Protected(Code),
}

impl Fault {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Target(TargetFault::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Target(_) | Self::Host | Self::UpgradeBody | Self::PathEncoding | Self::BodyBroken => {
                StatusCode::BAD_REQUEST
            }
            Self::TargetForm => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::ClientTimeout | Self::ClientLeft => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Key(fault) => match fault {
                KeyFault::Missing | KeyFault::Malformed => StatusCode::BAD_REQUEST,
                KeyFault::UnderWay | KeyFault::NotKept | KeyFault::Unknown => StatusCode::CONFLICT,
                KeyFault::Reused => StatusCode::UNPROCESSABLE_ENTITY,
                KeyFault::Full => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::PoolExhausted => StatusCode::SERVICE_UNAVAILABLE,
            Self::Protected(code) => {
                StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Connect
            | Self::UpstreamClosed
            | Self::UpstreamRefused(_)
            | Self::UpstreamProtocol
            | Self::UpstreamStatus => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::UpstreamTimeout | Self::TotalTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The stable code in problem documents, logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused(Refusal::HeadTooLarge | Refusal::TooManyFields) => "VAL_002",
            Self::Refused(Refusal::TargetTooLong) | Self::Target(TargetFault::TooLong) => "VAL_003",
            Self::Refused(_) | Self::UpgradeBody => "VAL_001",
            Self::Target(_) | Self::PathEncoding => "VAL_004",
            Self::Host => "VAL_005",
            Self::TargetForm => "VAL_006",
            Self::Expectation => "VAL_007",
            Self::BodyTooLarge => "VAL_008",
            Self::BodyBroken => "VAL_009",
            Self::ClientTimeout => "VAL_010",
            Self::ClientLeft => "VAL_011",
            Self::NoRoute => "ROUTE_001",
            Self::Key(KeyFault::Missing) => "KEY_001",
            Self::Key(KeyFault::Malformed) => "KEY_002",
            Self::Key(KeyFault::UnderWay) => "KEY_003",
            Self::Key(KeyFault::Reused) => "KEY_004",
            Self::Key(KeyFault::NotKept) => "KEY_005",
            Self::Key(KeyFault::Unknown) => "KEY_006",
            Self::Key(KeyFault::Full) => "KEY_007",
            Self::PoolExhausted => "SVC_001",
            Self::Connect => "SVC_002",
            Self::ConnectTimeout => "SVC_003",
            Self::UpstreamClosed => "SVC_004",
            Self::UpstreamRefused(_) | Self::UpstreamProtocol => "SVC_005",
            Self::UpstreamTimeout => "SVC_006",
            Self::TotalTimeout => "SVC_007",
            Self::UpstreamStatus => "SVC_011",
            Self::Protected(code) => match code.number() {
                5000..=5999 => "SVC_008",
                6001 | 6003 | 6004 => "RATE_001",
                6002 => "RATE_002",
                7001..=7199 => "SVC_009",
                7601 => "SVC_010",
                _ => "INT_001",
            },
        }
    }

    /// One sentence for people; it tells nothing of addresses or configuration.
    #[must_use]
    pub fn detail(self) -> String {
        match self {
            Self::Refused(refusal) => refusal.text().into(),
            Self::Target(fault) => fault.to_string(),
            Self::UpstreamRefused(refusal) => format!("the upstream's answer was refused: {refusal}"),
            Self::Protected(code) => {
                let text = match code.number() {
                    5000..=5999 => "the upstream has failed too often and is left alone for a while",
                    6002 => "the request weighs more than its rate limit ever lets through",
                    6000..=6999 => "too many requests in too short a time",
                    7001..=7199 => "as many requests as the upstream is given at once are under way",
                    7601 => "the request was made to fail on purpose",
                    _ => "the gateway is not configured as it should be",
                };
                text.into()
            }
            _ => self.text().into(),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Host => "Host is missing, repeated, malformed, or contradicts the request target",
            Self::TargetForm => "this gateway is not a forward proxy",
            Self::Expectation => "only the expectation 100-continue is known here",
            Self::UpgradeBody => "a request to change the protocol has a body",
            Self::ClientTimeout => "the request took too long to arrive",
            Self::ClientLeft => "the client gave the request up",
            Self::NoRoute => "no route matches the request",
            Self::PathEncoding => "the path has an encoding that this route does not allow",
            Self::Key(fault) => match fault {
                KeyFault::Missing => "this request needs an Idempotency-Key",
                KeyFault::Malformed => "Idempotency-Key is not one string of 1 to 255 characters",
                KeyFault::UnderWay => "the first request with this Idempotency-Key has not been answered yet",
                KeyFault::Reused => "this Idempotency-Key was used for another request",
                KeyFault::NotKept => {
                    "the first request with this Idempotency-Key was answered, and the answer is not kept"
                }
                KeyFault::Unknown => "what came of the first request with this Idempotency-Key is not known",
                KeyFault::Full => "too many requests with an Idempotency-Key are under way",
            },
            Self::BodyTooLarge => "the request body is larger than allowed",
            Self::BodyBroken => "the request body broke off or is malformed",
            Self::PoolExhausted => "the upstream is busy",
            Self::Connect => "no endpoint of the upstream accepts connections",
            Self::ConnectTimeout => "no endpoint of the upstream accepted a connection in time",
            Self::UpstreamClosed => "the upstream closed the connection before it answered",
            Self::UpstreamProtocol => "the upstream's answer does not fit the request",
            Self::UpstreamTimeout => "the upstream did not answer in time",
            Self::TotalTimeout => "the request took longer than its route allows",
            Self::UpstreamStatus => "the upstream answered with an error",
            Self::Refused(_) | Self::Target(_) | Self::UpstreamRefused(_) | Self::Protected(_) => "",
        }
    }

    /// Seconds after which a client may try again, where that is known to help.
    #[must_use]
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::PoolExhausted | Self::Key(KeyFault::UnderWay | KeyFault::Full) => Some(1),
            Self::Protected(code) if matches!(code.http_status(), 429 | 503) => Some(1),
            _ => None,
        }
    }

    /// Whether it is for want of an answer of the upstream, and not because of the request or its client.
    #[must_use]
    pub fn is_of_service(self) -> bool {
        matches!(
            self,
            Self::PoolExhausted
                | Self::Connect
                | Self::ConnectTimeout
                | Self::UpstreamClosed
                | Self::UpstreamRefused(_)
                | Self::UpstreamProtocol
                | Self::UpstreamTimeout
                | Self::UpstreamStatus
                | Self::TotalTimeout
                | Self::Protected(_)
        )
    }

    /// Whether what follows on the client's connection can no longer be told apart from the message.
    #[must_use]
    pub fn poisons_connection(self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Host
                | Self::BodyBroken
                | Self::ClientTimeout
                | Self::UpgradeBody
                | Self::TargetForm
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// What stands between `quote`s and looks like a code: capitals, `_` and three digits.
    fn codes(text: &str, quote: char) -> BTreeSet<&str> {
        let is_code = |word: &&str| {
            word.split_once('_').is_some_and(|(group, number)| {
                let capitals = !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_uppercase());
                capitals && number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        text.split(quote).filter(is_code).collect()
    }

    #[test]
    fn every_code_is_documented() {
        let documented = codes(include_str!("../../../docs/errors.md"), '`');
        let known = codes(include_str!("fault.rs"), '"');
        assert!(known.len() > 15, "{known:?}");
        assert_eq!(documented, known);
    }
}
