//! Why a policy did not let a call through, or ended it.
//!
//! One table says for every [`Code`] its number, name, severity, advice and the answers that protocols give for it.
//! Numbers are stable: 5xxx circuit breaker, 6xxx rate limit, 7xxx everything else.

use std::fmt;
use std::time::Duration;

use crate::name::Name;
use crate::outcome::{Outcome, RetryAdvice, Verdict};

/// The error of a protected call: its own, or that of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error<E> {
    /// The call ran and failed. After several attempts, this is the error of the last one.
    Call(E),
    /// A policy rejected the call or ended it.
    Rejected(Rejection),
}

impl<E> Error<E> {
    /// The rejection, where a policy is the reason.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Call(_) => None,
            Self::Rejected(rejection) => Some(rejection),
        }
    }

    /// The same with the call's own error turned into another one.
    pub fn map<F>(self, convert: impl FnOnce(E) -> F) -> Error<F> {
        match self {
            Self::Call(error) => Error::Call(convert(error)),
            Self::Rejected(rejection) => Error::Rejected(rejection),
        }
    }
}

impl<E> From<Rejection> for Error<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(formatter),
            Self::Rejected(rejection) => rejection.fmt(formatter),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call(error) => error.source(),
            Self::Rejected(_) => None,
        }
    }
}

/// A policy's refusal: which policy, why, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    code: Code,
    policy: Name,
    retry_after: Option<Duration>,
    context: Option<Context>,
}

/// The figures behind a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Context {
    /// How much there was of what ran out, and how much there may be: calls, permits, tokens, places.
    Used {
        /// What was in use, or asked for.
        used: u64,
        /// The most there may be.
        limit: u64,
    },
    /// How long the call had waited or run.
    Elapsed(Duration),
}

impl Rejection {
    /// A refusal by the policy of this name.
    pub fn new(code: Code, policy: &Name) -> Self {
        Self { code, policy: policy.clone(), retry_after: None, context: None }
    }

    /// The same, with the time after which the same call would be admitted.
    #[must_use]
    pub fn with_retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// The same, with the figures behind the decision.
    #[must_use]
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// Why.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The policy that refused.
    pub fn policy(&self) -> &Name {
        &self.policy
    }

    /// The figures behind the decision, where there are any.
    pub fn context(&self) -> Option<Context> {
        self.context
    }

    /// How long to wait before the same call has a chance, where the policy knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether another attempt may help: what the code says, with the policy's own time where it knows one.
    pub fn retry(&self) -> RetryAdvice {
        match (self.code.retry(), self.retry_after) {
            (RetryAdvice::No, _) => RetryAdvice::No,
            (_, Some(time)) => RetryAdvice::After(time),
            (advice, None) => advice,
        }
    }

    /// What the policies further out make of this refusal.
    ///
    /// Only a call that ran out of time speaks against what was called. A refusal by another guard never trips a
    /// breaker, and an open breaker is not tried again.
    pub fn verdict(&self) -> Verdict {
        let outcome = match self.code {
            Code::AttemptTimeout | Code::TotalTimeout | Code::ChaosAborted => Outcome::Failure,
            _ => Outcome::Rejected,
        };
        let verdict = Verdict::new(outcome, self.retry());
        if outcome == Outcome::Rejected || self.code == Code::ChaosAborted { verdict.unprocessed() } else { verdict }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} by `{}`", self.code.message(), self.policy)?;
        match self.context {
            Some(Context::Used { used, limit }) => write!(formatter, " ({used} of {limit})")?,
            Some(Context::Elapsed(time)) => write!(formatter, " (after {time:?})")?,
            None => {}
        }
        if let Some(time) = self.retry_after {
            write!(formatter, ", try again after {time:?}")?;
        }
        write!(formatter, " [{} {}]", self.code.number(), self.code.name())
    }
}

impl std::error::Error for Rejection {}

/// How much a rejection matters to whoever runs the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Expected in everyday use.
    Info,
    /// Something is short, and callers notice.
    Warning,
    /// Something is broken.
    Error,
}

/// Declares [`Code`] and its facts from one table.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident: $number:literal $name:literal $message:literal $severity:ident $retry:ident $http:literal $grpc:literal;)*) => {
        /// Why a call was rejected.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            /// The stable number, 5000 to 7999.
            pub const fn number(self) -> u16 {
                match self { $(Self::$code => $number,)* }
            }

            /// The stable name: `component.reason`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// The reason as a short sentence without its end.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$code => $message,)* }
            }

            /// How much it matters.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$code => Severity::$severity,)* }
            }

            /// Whether another attempt may help.
            pub const fn retry(self) -> RetryAdvice {
                match self { $(Self::$code => RetryAdvice::$retry,)* }
            }

            /// The HTTP status (RFC 9110, RFC 6585) of an answer for it.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$code => $http,)* }
            }

            /// The gRPC status code of an answer for it.
            pub const fn grpc_code(self) -> u8 {
                match self { $(Self::$code => $grpc,)* }
            }
        }
    };
}

codes! {
    /// The circuit breaker is open.
    BreakerOpen: 5001 "circuit_breaker.open" "circuit open" Warning No 503 14;
    /// The circuit breaker was opened by hand.
    BreakerForcedOpen: 5002 "circuit_breaker.forced_open" "circuit held open" Warning No 503 14;
    /// The circuit breaker is half open and all its probes are under way.
    BreakerProbing: 5003 "circuit_breaker.probing" "circuit probing" Warning No 503 14;
    /// The circuit breaker has just closed and lets only a growing share of calls through.
    BreakerRamping: 5004 "circuit_breaker.ramping" "circuit ramping up" Warning Backoff 503 14;
    /// The rate limit is used up.
    RateLimited: 6001 "rate_limiter.limited" "rate limited" Info Backoff 429 8;
    /// The call costs more than the rate limit can ever admit at once.
    RateCostTooLarge: 6002 "rate_limiter.cost_too_large" "cost above the limit" Warning No 429 8;
    /// The rate limiter's queue is full, or the wait in it would be longer than allowed.
    RateQueueFull: 6003 "rate_limiter.queue_full" "queue full" Warning Backoff 429 8;
    /// The rate limiter follows as many keys as it may, and none of them can be forgotten.
    RateTableFull: 6004 "rate_limiter.table_full" "too many keys" Warning Backoff 429 8;
    /// The rate limiter needs a key and the call has none.
    RateKeyMissing: 6005 "rate_limiter.key_missing" "no key to limit by" Error No 500 13;
    /// The bulkhead and its queue are full.
    BulkheadFull: 7001 "bulkhead.full" "bulkhead full" Warning Backoff 503 14;
    /// The call waited in the bulkhead's queue for as long as it may.
    BulkheadTimeout: 7002 "bulkhead.timeout" "no place in the bulkhead in time" Warning Backoff 503 14;
    /// The bulkhead's queue was cleared while the call waited in it.
    BulkheadCleared: 7003 "bulkhead.cleared" "queue cleared" Warning Backoff 503 14;
    /// The adaptive limit is reached.
    ConcurrencyLimited: 7101 "adaptive.limited" "concurrency limited" Warning Backoff 503 14;
    /// The adaptive limit leaves no room for calls of this priority.
    ConcurrencyShed: 7102 "adaptive.shed" "shed by priority" Warning Backoff 503 14;
    /// One attempt took too long.
    AttemptTimeout: 7201 "timeout.attempt" "attempt timed out" Warning Backoff 504 4;
    /// The call, with all its attempts, took too long.
    TotalTimeout: 7202 "timeout.total" "timed out" Warning No 504 4;
    /// The deadline of the caller has passed before the call began.
    DeadlinePassed: 7203 "timeout.deadline_passed" "deadline passed" Info No 504 4;
    /// The pool has no resource and no place to wait for one.
    PoolFull: 7301 "connection_pool.full" "pool full" Warning Backoff 503 14;
    /// No resource of the pool became free in time.
    PoolTimeout: 7302 "connection_pool.timeout" "no resource in time" Warning Backoff 503 14;
    /// The pool is closed.
    PoolClosed: 7303 "connection_pool.closed" "pool closed" Error No 503 14;
    /// The pool could not make a resource.
    PoolConnect: 7304 "connection_pool.connect" "no new resource" Error Backoff 503 14;
    /// A fault that was asked for.
    ChaosAborted: 7601 "chaos.aborted" "aborted on purpose" Info Backoff 503 14;
    /// The registry has no policy of this name.
    UnknownPolicy: 7701 "registry.unknown_policy" "no such policy" Error No 500 13;
    /// The registry follows as many keys of this policy as it may.
    TooManyKeys: 7702 "registry.too_many_keys" "too many keys" Warning Backoff 503 14;
    /// The pipeline has policies of its own for each key and the call has no key.
    KeyMissing: 7703 "registry.key_missing" "no key to look up by" Error No 500 13;
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An option with a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOption {
    /// The option, as it is written: `open_for`, or `window.calls`.
    pub option: &'static str,
    /// What is wrong with it and what it may be.
    pub problem: String,
}

impl InvalidOption {
    /// A problem with the option of this name.
    pub fn new(option: &'static str, problem: impl Into<String>) -> Self {
        Self { option, problem: problem.into() }
    }
}

impl fmt::Display for InvalidOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` {}", self.option, self.problem)
    }
}

impl std::error::Error for InvalidOption {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_names_differ() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        let names: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| (5000..8000).contains(&code.number())));
    }

    #[test]
    fn a_rejection_says_who_why_and_when() {
        let rejection = Rejection::new(Code::RateLimited, &Name::from("search"))
            .with_retry_after(Duration::from_millis(250))
            .with_context(Context::Used { used: 10, limit: 10 });
        assert_eq!(
            rejection.to_string(),
            "rate limited by `search` (10 of 10), try again after 250ms [6001 rate_limiter.limited]"
        );
        assert_eq!(rejection.retry(), RetryAdvice::After(Duration::from_millis(250)));
    }

    #[test]
    fn an_open_circuit_is_not_tried_again_even_where_it_knows_a_time() {
        let open = Rejection::new(Code::BreakerOpen, &Name::from("db")).with_retry_after(Duration::from_secs(1));
        assert_eq!(open.retry(), RetryAdvice::No);
        assert_eq!(open.verdict().outcome, Outcome::Rejected);
    }
}
