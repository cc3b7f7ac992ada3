//! What the end of an attempt means to policies. The one table from answers and faults to their words.

use crate::fault::Fault;
use crate::protection::ByAnswer;
use http::StatusCode;
use std::time::{Duration, SystemTime};
use tidegate_resilience::{Classify, Outcome, RetryAdvice, Verdict};
use tidegate_wire::head::ResponseHead;

/// Why there is no response head.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) fault: Fault,
    pub(super) reached: Reached,
}

/// Whether a request that was lost has reached an upstream that acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// It was not sent, or HTTP/2 says that nothing was done with it (RFC 9113 §8.7).
    No,
    /// Nothing of an answer was received: the upstream may have closed before it read.
    Perhaps,
    /// An answer had begun, or time has run out.
    Yes,
}

impl From<Fault> for Lost {
    fn from(fault: Fault) -> Self {
        Self { fault, reached: Reached::Yes }
    }
}

impl Classify<Verdict, Lost> for ByAnswer {
    fn classify(&self, result: &Result<Verdict, Lost>) -> Verdict {
        match result {
            Ok(verdict) => *verdict,
            Err(lost) if lost.reached == Reached::No => of_fault(lost.fault).unprocessed(),
            Err(lost) => of_fault(lost.fault),
        }
    }
}

/// An error of the client's is an answer as good as any. Statuses: RFC 9110 §15.6, RFC 6585 §4.
pub(super) fn of_answer(head: &ResponseHead) -> Verdict {
    match head.status {
        StatusCode::TOO_MANY_REQUESTS => Verdict::overload(retry_after(head)),
        StatusCode::SERVICE_UNAVAILABLE => match retry_after(head) {
            Some(time) => Verdict::overload(Some(time)),
            None => Verdict::TRANSIENT,
        },
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Verdict::TRANSIENT,
        status if status.is_server_error() => Verdict::PERMANENT,
        _ => Verdict::SUCCESS,
    }
}

fn of_fault(fault: Fault) -> Verdict {
    match fault {
        Fault::Connect
        | Fault::ConnectTimeout
        | Fault::UpstreamClosed
        | Fault::UpstreamRefused(_)
        | Fault::UpstreamProtocol
        | Fault::UpstreamTimeout => Verdict::TRANSIENT,
        Fault::TotalTimeout => Verdict::PERMANENT,
        // The gateway's own bound: it says nothing about the upstream, and another attempt would be one more in the queue.
        Fault::PoolExhausted => Verdict::new(Outcome::Rejected, RetryAdvice::No),
        _ => Verdict::IGNORED,
    }
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(head: &ResponseHead) -> Option<Duration> {
    let field = head.fields.iter().find(|field| field.name.eq_ignore_ascii_case(b"retry-after"))?;
    let value = str::from_utf8(field.value).ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after: &str) -> Verdict {
        let mut head = ResponseHead { status: StatusCode::from_u16(status).expect("a status"), ..Default::default() };
        if !retry_after.is_empty() {
            head.fields.append("retry-after", retry_after.as_bytes());
        }
        of_answer(&head)
    }

    #[test]
    fn what_an_answer_means() {
        for (status, retry_after, meaning) in [
            (200, "", Verdict::SUCCESS),
            (404, "", Verdict::SUCCESS),
            (429, "", Verdict::overload(None)),
            (429, "7", Verdict::overload(Some(Duration::from_secs(7)))),
            (503, "7", Verdict::overload(Some(Duration::from_secs(7)))),
            (503, "Sun, 06 Nov 1994 08:49:37 GMT", Verdict::overload(Some(Duration::ZERO))),
            (503, "soon", Verdict::TRANSIENT),
            (503, "", Verdict::TRANSIENT),
            (502, "", Verdict::TRANSIENT),
            (504, "", Verdict::TRANSIENT),
            (500, "", Verdict::PERMANENT),
            (501, "", Verdict::PERMANENT),
        ] {
            assert_eq!(answered(status, retry_after), meaning, "{status} {retry_after}");
        }
    }

    #[test]
    fn what_a_client_did_is_no_failure_of_an_upstream() {
        for fault in [Fault::ClientLeft, Fault::ClientTimeout, Fault::BodyBroken, Fault::BodyTooLarge] {
            assert_eq!(of_fault(fault), Verdict::IGNORED);
        }
        assert_eq!(of_fault(Fault::PoolExhausted).outcome, Outcome::Rejected);
    }
}
