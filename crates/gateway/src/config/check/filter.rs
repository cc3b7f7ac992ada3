//! Filters of listeners and routes: every limit is a policy of the library, by name. Guards of idempotency keys are in
//! `idempotency`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_resilience::{Mode, PolicyOptions, RateLimitOptions, RateLimiter};

use super::balance::{cookie_name, key_field};
use super::names::{self, Taken};
use super::{Findings, Flaw};
use crate::config::document::{self, Document, Filter};
use crate::config::plan::{KeyPart, Listener, Quota, RateLimit, Route};
use crate::config::problem::{DocumentPath, Problem};

/// The most filters of a listener or route.
const MOST: usize = 16;

/// Bytes of a name that is derived, before a number behind it.
const DERIVED: usize = 96;

/// The policies of all limits by name, and where each is written first.
#[derive(Default)]
pub(super) struct Limits(BTreeMap<Arc<str>, (PolicyOptions, DocumentPath)>);

/// The limits that are written, while names are given to them.
#[derive(Default)]
struct Naming<'d> {
    first: BTreeMap<&'d str, (&'d document::RateLimit, DocumentPath)>,
    taken: Taken,
    limits: Limits,
}

/// Gives listeners and routes their limits, and returns the policies of these.
pub(super) fn limits(
    document: &Document,
    listeners: &mut [Listener],
    routes: &mut [Route],
    found: &mut Findings,
) -> Limits {
    let root = DocumentPath::root();
    let of_listeners = document.listeners.iter().map(|listener| &listener.filters);
    let of_listeners = of_listeners.enumerate().map(|(index, list)| (root.key("listeners").index(index), list));
    let of_routes = document.routes.iter().map(|route| &route.filters);
    let of_routes = of_routes.enumerate().map(|(index, list)| (root.key("routes").index(index), list));
    let mut naming = Naming::default();
    // Every name that is written is taken before any is derived.
    for name in document.policies.keys() {
        naming.taken.take(&name.as_str().into());
    }
    for (at, list) in of_listeners.clone().chain(of_routes.clone()) {
        naming.given(list, &at.key("filters"), document, found);
    }
    for (index, (at, list)) in of_listeners.enumerate() {
        let listener = listeners.get_mut(index);
        let owner = listener.as_ref().map(|listener| format!("listener {}", listener.address));
        let planned = naming.planned(list, &at.key("filters"), &owner.unwrap_or_default(), found);
        if let (Some(listener), Some(planned)) = (listener, planned) {
            listener.rate_limits = planned;
        }
    }
    for (index, (at, list)) in of_routes.enumerate() {
        let route = routes.get_mut(index);
        let owner = route.as_ref().map(|route| Arc::clone(&route.name));
        let planned = naming.planned(list, &at.key("filters"), &owner.unwrap_or_default(), found);
        if let (Some(route), Some(planned)) = (route, planned) {
            route.rate_limits = planned;
        }
    }
    naming.limits
}

impl Limits {
    /// All policies.
    pub(super) fn policies(&self) -> impl Iterator<Item = (&str, &PolicyOptions)> {
        self.0.iter().map(|(name, (options, _))| (&**name, options))
    }

    /// The name of the limit of which `rest` speaks, and where that is written: `NAME.rate_limit.fixed_window` is.
    pub(super) fn find<'r>(&self, rest: &'r str) -> Option<(&DocumentPath, &'r str)> {
        self.0.iter().find_map(|(name, (options, at))| {
            let rest = rest.strip_prefix(&**name)?;
            let below = rest.strip_prefix('.').and_then(|rest| rest.strip_prefix(options.kind()));
            below.or_else(|| rest.is_empty().then_some(rest)).map(|rest| (at, rest))
        })
    }
}

impl<'d> Naming<'d> {
    /// Takes the names that are written.
    fn given(&mut self, list: &'d [Filter], at: &DocumentPath, document: &Document, found: &mut Findings) {
        if list.len() > MOST {
            found.error(Problem::new(at.clone(), format!("has more than {MOST} filters")));
        }
        for (index, written) in rate_limits(list) {
            let at = at.index(index).key("rate_limit");
            if let Some(name) = &written.name {
                let unique = names::upstream(name).and_then(|name| self.given_once(&name, written, document));
                let unique = found.value(&at.key("name"), unique).is_some();
                if unique && !self.first.contains_key(name.as_str()) {
                    self.limit(&name.as_str().into(), written, &at, found);
                    self.first.insert(name, (written, at));
                }
            }
        }
    }

    fn given_once(&mut self, name: &Arc<str>, written: &document::RateLimit, document: &Document) -> Result<(), Flaw> {
        match self.first.get(&**name) {
            _ if document.policies.contains_key(&**name) => {
                let flaw = Flaw::new(format!("a policy of `policies` has the name `{name}` already"));
                Err(flaw
                    .help("take another name: policies around upstreams are other ones than limits in front of routes"))
            }
            Some((first, place)) if !is_same(first, written) => {
                Err(Flaw::new(format!("`{name}` has other options at `{place}`"))
                    .help("the same name is the same limit: write the same options, or take another name"))
            }
            Some(_) => Ok(()),
            None => {
                self.taken.take(name);
                Ok(())
            }
        }
    }

    /// The limits of one listener or route, which is called `owner`.
    fn planned(
        &mut self,
        list: &[Filter],
        at: &DocumentPath,
        owner: &str,
        found: &mut Findings,
    ) -> Option<Vec<RateLimit>> {
        super::all(rate_limits(list).map(|(index, written)| {
            let at = at.index(index).key("rate_limit");
            let by = found.list(&at.key("by"), &written.by, |text| part(text, written.ipv6_prefix.value()));
            let policy = match &written.name {
                Some(name) => name.as_str().into(),
                None => {
                    let name = self.taken.take_numbered(&plain(owner));
                    self.limit(&name, written, &at, found);
                    name
                }
            };
            let quota = quota(&options(written));
            Some(RateLimit {
                policy,
                by: by?,
                cost: written.cost.value(),
                // Where there is none, the library finds out why.
                quota: quota.unwrap_or(Quota { limit: 0, window: Duration::ZERO }),
                told: written.headers && written.mode == Mode::Enabled,
            })
        }))
    }

    /// Makes a policy of a limit. What is wrong with its options is found by the library, but for how many algorithms
    /// there are: that is said of all of them.
    fn limit(&mut self, name: &Arc<str>, written: &document::RateLimit, at: &DocumentPath, found: &mut Findings) {
        let document::RateLimit { token_bucket, sliding_window, fixed_window, leaky_bucket, .. } = written;
        let algorithms =
            [token_bucket.is_some(), sliding_window.is_some(), fixed_window.is_some(), leaky_bucket.is_some()];
        let amount = match algorithms.iter().filter(|written| **written).count() {
            0 => "none",
            1 => {
                self.limits.0.insert(Arc::clone(name), (policy(written), at.clone()));
                return;
            }
            _ => "more than one",
        };
        let message = format!("has {amount} of `token_bucket`, `sliding_window`, `fixed_window` and `leaky_bucket`");
        found.error(Problem::new(at.clone(), message));
    }
}

/// The limits of a list, each with its place.
fn rate_limits(list: &[Filter]) -> impl Iterator<Item = (usize, &document::RateLimit)> {
    list.iter().enumerate().filter_map(|(index, filter)| Some((index, filter.rate_limit()?)))
}

/// Whether two limits may have one name.
fn is_same(one: &document::RateLimit, other: &document::RateLimit) -> bool {
    options(one) == options(other) && one.by == other.by && one.ipv6_prefix == other.ipv6_prefix
}

/// The name of a route or listener as the name of a policy: letters, digits, `.`, `_`, and `-` for anything else.
fn plain(owner: &str) -> String {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
    let words = owner.as_bytes().split(|byte| !allowed(byte)).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    let mut name = if words.is_empty() { "limit".to_owned() } else { words.join("-") };
    name.truncate(DERIVED);
    name
}

/// What is written, as the library has it.
fn options(written: &document::RateLimit) -> RateLimitOptions {
    RateLimitOptions {
        mode: written.mode,
        token_bucket: written.token_bucket,
        sliding_window: written.sliding_window,
        fixed_window: written.fixed_window,
        leaky_bucket: written.leaky_bucket,
        max_wait: written.max_wait.duration(),
        max_keys: written.max_keys.value(),
    }
}

fn policy(written: &document::RateLimit) -> PolicyOptions {
    let options = options(written);
    if written.by.is_empty() { PolicyOptions::RateLimit(options) } else { PolicyOptions::KeyedRateLimit(options) }
}

/// What these options let through; `None` where they are wrong.
fn quota(options: &RateLimitOptions) -> Option<Quota> {
    let limit = RateLimiter::new("", options).ok()?.status().limit;
    let refilled = |rate: u32, per: Duration| {
        let time = per.as_nanos() * u128::from(limit) / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
    };
    let window = match options {
        RateLimitOptions { fixed_window: Some(window), .. } => window.window,
        RateLimitOptions { sliding_window: Some(window), .. } => window.window,
        RateLimitOptions { token_bucket: Some(bucket), .. } => refilled(bucket.rate, bucket.per),
        RateLimitOptions { leaky_bucket: Some(bucket), .. } => refilled(bucket.rate, bucket.per),
        _ => return None,
    };
    Some(Quota { limit, window })
}

/// A part of a key.
pub(super) fn part(text: &str, ipv6_prefix: u32) -> Result<KeyPart, Flaw> {
    match text.split_once(':') {
        None if text == "client_address" => Ok(KeyPart::ClientAddress(u8::try_from(ipv6_prefix).unwrap_or(128))),
        None if text == "host" => Ok(KeyPart::Host),
        None if text == "path" => Ok(KeyPart::Path),
        None if text == "method" => Ok(KeyPart::Method),
        None if text == "route" => Ok(KeyPart::Route),
        Some(("header", name)) => key_field(name).map(KeyPart::Header),
        Some(("cookie", name)) => cookie_name(name).map(KeyPart::Cookie),
        _ => Err(Flaw::new(format!("`{}` is no part of a request", text.escape_debug()))
            .help("write `client_address`, `header:NAME`, `cookie:NAME`, `host`, `path`, `method` or `route`")),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_resilience::{FixedWindow, LeakyBucket, SlidingWindow, TokenBucket};

    use super::*;

    #[test]
    fn a_quota_is_what_comes_at_once_and_how_long_it_takes_to_come_back() {
        let second = Duration::from_secs(1);
        for (options, limit, window) in [
            (RateLimitOptions::fixed_window(FixedWindow { limit: 10, window: 60 * second }), 10, 60 * second),
            (RateLimitOptions::sliding_window(SlidingWindow { limit: 7, window: second }), 7, second),
            (RateLimitOptions::token_bucket(TokenBucket { rate: 5, per: second, burst: Some(20) }), 20, 4 * second),
            (RateLimitOptions::token_bucket(TokenBucket { rate: 5, per: second, burst: None }), 5, second),
            (RateLimitOptions::leaky_bucket(LeakyBucket { rate: 2, per: second, queue: 3 }), 4, 2 * second),
        ] {
            assert_eq!(quota(&options), Some(Quota { limit, window }), "{options:?}");
        }
        assert_eq!(quota(&RateLimitOptions::fixed_window(FixedWindow { limit: 0, window: second })), None);
    }

    #[test]
    fn names_are_made_of_what_a_name_may_have() {
        assert_eq!(plain("prefix /limited/{id}"), "prefix-limited-id");
        assert_eq!(plain("listener [::1]:80"), "listener-1-80");
        assert_eq!(plain("é/"), "limit");
        assert_eq!(plain(&"x".repeat(200)).len(), DERIVED);
    }

    #[test]
    fn a_key_is_made_of_parts_of_a_request() {
        assert_eq!(part("client_address", 56), Ok(KeyPart::ClientAddress(56)));
        assert_eq!(part("header:X-User", 64), Ok(KeyPart::Header(http::HeaderName::from_static("x-user"))));
        assert_eq!(part("cookie:Sid", 64), Ok(KeyPart::Cookie("Sid".into())));
        for text in
            ["", "header", "header:", "header:a b", "header:x-forwarded-for", "cookie:", "cookie:a=", "Path", "ip"]
        {
            assert!(part(text, 64).is_err(), "{text}");
        }
    }
}
