//! How answers tell of limits (draft-ietf-httpapi-ratelimit-headers-10).

use super::Ask;
use std::cmp::Reverse;
use std::time::Duration;
use tidegate_resilience::RateLimitStatus;

/// How an answer tells of limits: the values of `RateLimit` and `RateLimit-Policy`, empty where none of them is told of.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    pub(crate) standing: String,
    pub(crate) policy: String,
}

impl Telling {
    /// Tells of these limits, the one first that will let through the fewest further requests like this one.
    pub(crate) fn write<'a>(&mut self, asks: impl Iterator<Item = Ask<'a>> + Clone) {
        self.standing.clear();
        self.policy.clear();
        let told = asks.filter(|ask| ask.limit.told.is_some());
        if told.clone().nth(1).is_none() {
            told.for_each(|ask| self.member(&ask, &ask.limit.status(ask.key)));
            return;
        }
        let mut standings: Vec<_> = told.map(|ask| (ask, ask.limit.status(ask.key))).collect();
        standings.sort_by_key(|(ask, status)| (status.remaining / ask.limit.cost.max(1), Reverse(status.reset_after)));
        for (ask, status) in &standings {
            self.member(ask, status);
        }
    }

    /// One member of both lists (RFC 9651 §3.1): a string with integers as parameters.
    fn member(&mut self, ask: &Ask<'_>, status: &RateLimitStatus) {
        let Some((name, quota)) = &ask.limit.told else { return };
        for list in [&mut self.standing, &mut self.policy] {
            if !list.is_empty() {
                list.push_str(", ");
            }
            list.push_str(name);
        }
        self.policy.push_str(quota);
        for (parameter, number) in [(";r=", status.remaining.into()), (";t=", whole_seconds(status.reset_after))] {
            self.standing.push_str(parameter);
            push_number(&mut self.standing, number);
        }
    }
}

/// Seconds, rounded up: nobody is to come too early.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Appends a number without the machinery of `format!`: it is done several times for every request.
pub(crate) fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(str::from_utf8(&digits[at..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 4_000_000_000, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }
}
