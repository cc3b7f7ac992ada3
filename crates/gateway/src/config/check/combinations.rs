//! Warnings about what is right by itself and harmful together: retries that never get their turn, attempts that add up,
//! copies of requests that may not be copied, policies that nothing uses.
//!
//! They look at a whole plan, because what goes wrong is spread over routes, upstreams and listeners. Orders of policies
//! are checked by the library.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_resilience::{Mode, PolicyOptions, Retry, RetryOptions, StepOptions};

use super::Findings;
use crate::config::Document;
use crate::config::document;
use crate::config::plan::{Action, Applied, Endpoint, EndpointHost, Plan, Route, Upstream};
use crate::config::problem::{DocumentPath, Problem};

/// One request may be sent so often before somebody should know.
const MANY: u32 = 6;

/// Warns of everything that is doubtful about the parts of a plan together.
pub(super) fn warn(document: &Document, plan: &Plan, found: &mut Findings) {
    for (index, (written, route)) in document.routes.iter().zip(&plan.routes).enumerate() {
        if let Some(forwarding) = Forwarding::of(document, plan, written, route, index) {
            forwarding.never_twice(found);
            forwarding.twice_under_one_key(found);
            forwarding.out_of_time(found);
            forwarding.too_often(found);
        }
    }
    unused(document, found);
    needless_replay(document, plan, found);
    circles(plan, found);
}

/// A route that forwards, with all that is around its requests.
struct Forwarding<'p> {
    plan: &'p Plan,
    at: DocumentPath,
    written: &'p document::Route,
    route: &'p Route,
    upstream: &'p Upstream,
    upstream_written: &'p document::Upstream,
    policies: Vec<Applied<'p>>,
}

impl<'p> Forwarding<'p> {
    fn of(
        document: &'p Document,
        plan: &'p Plan,
        written: &'p document::Route,
        route: &'p Route,
        index: usize,
    ) -> Option<Self> {
        let Action::Forward(upstream) = route.action else { return None };
        let upstream = plan.upstreams.get(upstream)?;
        Some(Self {
            plan,
            at: DocumentPath::root().key("routes").index(index),
            written,
            route,
            upstream,
            upstream_written: document.upstreams.get(&*upstream.name)?,
            policies: plan.policies_of(route),
        })
    }

    /// Where the policy at this place of the list comes from: the route's own stand first.
    fn place(&self, index: usize) -> DocumentPath {
        match self.is_own(index) {
            true => self.at.key("protect").index(index),
            false => self.at.key("upstream"),
        }
    }

    fn is_own(&self, index: usize) -> bool {
        index < self.written.protect.len()
    }

    /// The retry that somebody has written.
    fn retry(&self) -> Option<(usize, &RetryOptions)> {
        let mut policies = self.policies.iter().enumerate();
        policies.find_map(|(index, policy)| match policy.options {
            PolicyOptions::Retry(options) if options.mode == Mode::Enabled => {
                (self.is_own(index) || self.upstream_written.protect.is_some()).then_some((index, options))
            }
            _ => None,
        })
    }

    /// Whether there are requests that may be sent twice.
    fn repeats(&self) -> bool {
        let methods = &self.route.matches.methods;
        self.route.idempotent || methods.is_empty() || methods.iter().any(http::Method::is_idempotent)
    }

    /// A guard that has requests sent once, where the route lets policies send them twice.
    fn twice_under_one_key(&self, found: &mut Findings) {
        let guarded = self.route.idempotency.as_ref();
        let Some(method) = guarded.and_then(|guard| guard.methods.iter().find(|method| !method.is_idempotent())) else {
            return;
        };
        if self.route.idempotent {
            let message = format!("lets policies send a {method} twice, which `idempotency` has sent once");
            let help = "leave one of the two out, unless the service recognises a second copy by its key".to_owned();
            found.warn(Problem { help: Some(help), ..Problem::new(self.at.key("idempotent"), message) });
        }
    }

    /// Policies that send again what may not be sent twice.
    fn never_twice(&self, found: &mut Findings) {
        if self.repeats() {
            return;
        }
        let methods = self.route.matches.methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(" and ");
        let help = "say `idempotent: true` where the service recognises a second copy, or leave this out";
        for (index, policy) in self.policies.iter().enumerate() {
            let message = match policy.options {
                PolicyOptions::Hedge(_) => {
                    format!("hedges nothing: {methods} may not be sent twice [hedge_not_idempotent]")
                }
                PolicyOptions::Retry(_) if self.is_own(index) => {
                    format!("tries again only what no endpoint has accepted: {methods} may not be sent twice")
                }
                _ => continue,
            };
            found.warn(Problem::new(self.place(index), message).help(help));
        }
        if let Some(Action::Forward(_)) = self.route.fallback.as_ref().map(|fallback| &fallback.action) {
            let message =
                format!("is asked only where no endpoint has accepted the request: {methods} may not be sent twice");
            found.warn(Problem::new(self.at.key("fallback").key("upstream"), message).help(help));
        }
    }

    /// Attempts that cannot all take place in the time that there is. Where one policy limits an attempt and another
    /// one the whole, the library has said it.
    fn out_of_time(&self, found: &mut Findings) {
        let Some((index, retry)) = self.retry().filter(|(_, retry)| retry.attempts > 1) else { return };
        let limits = |limit: fn(&tidegate_resilience::TimeoutOptions) -> Option<Duration>| {
            let timeouts = self.policies.iter().filter_map(move |policy| match policy.options {
                PolicyOptions::Timeout(options) if options.mode == Mode::Enabled => limit(options),
                _ => None,
            });
            timeouts.min()
        };
        let (attempt, total) = (limits(|timeout| timeout.attempt), limits(|timeout| timeout.total));
        let response = self.route.timeouts.response;
        let by_policy = attempt.is_some_and(|attempt| response.is_none_or(|response| attempt <= response));
        let (attempt, by) = if by_policy { (attempt, "`timeout.attempt`") } else { (response, "`timeouts.response`") };
        let of_route = self.route.timeouts.total;
        let (total, at, whole) = match (total, of_route) {
            (Some(total), of_route) if of_route.is_none_or(|of_route| total <= of_route) => {
                (total, self.place(index), "`timeout.total`")
            }
            (_, Some(of_route)) => (of_route, self.at.key("timeouts").key("total"), "`timeouts.total`"),
            _ => return,
        };
        let Some(attempt) = attempt.filter(|_| !(by_policy && whole == "`timeout.total`")) else { return };
        let attempts = retry.attempts;
        let waits = Retry::new("retry", retry).ok().and_then(|retry| retry.longest_wait()).unwrap_or_default();
        let worst = attempt.saturating_mul(attempts).saturating_add(waits);
        let message = if attempt >= total {
            format!(
                "an attempt may take {attempt:?} ({by}), and all of them together {total:?} ({whole}): one that hangs is never tried again"
            )
        } else if worst > total {
            format!(
                "{attempts} attempts of {attempt:?} ({by}) and the waits between them take up to {worst:?}, and all together may take {total:?} ({whole})"
            )
        } else {
            return;
        };
        let each = share(total, waits, attempts);
        let help = format!("give an attempt {each:?} at most, by `timeout: {{ attempt: ... }}`");
        found.warn(Problem::new(at, message).help(help));
    }

    /// Attempts that multiply, or come together at a fallback.
    fn too_often(&self, found: &mut Findings) {
        if !self.repeats() {
            return;
        }
        let most = attempts(&self.policies);
        let repeats = |policy: &Applied<'_>| copies(policy) > 1;
        let repeating: Vec<_> = self.policies.iter().enumerate().filter(|(_, policy)| repeats(policy)).collect();
        if let [(index, outer), inner, ..] = repeating.as_slice()
            && most > MANY
        {
            let message = format!(
                "one request may be sent {most} times: {} of the {}, each with {} of the {}",
                copies(outer),
                outer.options.kind(),
                copies(inner.1),
                inner.1.options.kind()
            );
            found.warn(Problem::new(self.place(*index), message).help("lower `attempts` or `max`"));
        }
        let Some(Action::Forward(other)) = self.route.fallback.as_ref().map(|fallback| &fallback.action) else {
            return;
        };
        let Some(other) = self.plan.upstreams.get(*other) else { return };
        let more = attempts(&self.plan.policies_of_upstream(other));
        if more > 1 && most.saturating_add(more) > MANY {
            let message = format!(
                "one request may be sent {} times: {most} times to `{}`, and then {more} times to `{}`",
                most.saturating_add(more),
                self.upstream.name,
                other.name
            );
            let help = "lower `attempts` here or there: an outage is when both are asked for everything";
            found.warn(Problem::new(self.at.key("fallback").key("upstream"), message).help(help));
        }
    }
}

/// How long each attempt may take so that all of them fit, in whole milliseconds.
fn share(total: Duration, waits: Duration, attempts: u32) -> Duration {
    let each = total.saturating_sub(waits) / attempts.max(1);
    let each = if each.is_zero() { total / attempts.max(1) } else { each };
    Duration::from_millis(u64::try_from(each.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// How often a policy lets a request begin, at most.
fn copies(policy: &Applied<'_>) -> u32 {
    match policy.options {
        PolicyOptions::Retry(options) if options.mode == Mode::Enabled => options.attempts.max(1),
        PolicyOptions::Hedge(options) if options.mode == Mode::Enabled => options.max.saturating_add(1),
        _ => 1,
    }
}

/// How often one request is sent, at most.
fn attempts(policies: &[Applied<'_>]) -> u32 {
    policies.iter().map(copies).fold(1, u32::saturating_mul)
}

/// Policies with a name that stand nowhere.
fn unused(document: &Document, found: &mut Findings) {
    let of_upstreams = document.upstreams.values().filter_map(|upstream| upstream.protect.as_ref());
    let steps = of_upstreams.chain(document.routes.iter().map(|route| &route.protect)).flatten();
    let used: BTreeSet<_> = steps
        .filter_map(|step| match step {
            StepOptions::Use(name) => Some(name),
            StepOptions::Policy(_) => None,
        })
        .collect();
    for name in document.policies.keys().filter(|name| !used.contains(name)) {
        let place = DocumentPath::root().key("policies").key(name);
        let problem = Problem::new(place, format!("the policy `{name}` is never used"));
        found.warn(problem.help(format!("put `use: {name}` into the `protect` of an upstream or a route")));
    }
}

/// Bodies that are kept although nothing sends them again.
fn needless_replay(document: &Document, plan: &Plan, found: &mut Findings) {
    for (index, upstream) in plan.upstreams.iter().enumerate() {
        let Some(written) = document.upstreams.get(&*upstream.name) else { continue };
        let mut routes = plan.routes.iter().filter(|route| matches!(route.action, Action::Forward(to) if to == index));
        let sends_again = |route: &Route| {
            let goes_over = route.fallback.as_ref().is_some_and(|other| matches!(other.action, Action::Forward(_)));
            goes_over || attempts(&plan.policies_of(route)) > 1
        };
        if written.replay != document::Upstream::REPLAY
            && upstream.replay > 0
            && !routes.clone().any(sends_again)
            && routes.next().is_some()
        {
            let place = DocumentPath::root().key("upstreams").key(&upstream.name).key("replay");
            let message = "keeps bodies for nothing: no policy and no fallback sends a request again";
            found.warn(Problem::new(place, message).help("give the upstream a `retry`, or leave `replay` out"));
        }
    }
}

/// Endpoints that are listeners of this gateway.
fn circles(plan: &Plan, found: &mut Findings) {
    for (index, upstream) in plan.upstreams.iter().enumerate() {
        let routes =
            || plan.routes.iter().filter(move |route| matches!(route.action, Action::Forward(to) if to == index));
        let here = routes().map(|route| attempts(&plan.policies_of(route))).max().unwrap_or(1);
        for (place, endpoint) in upstream.endpoints.iter().enumerate() {
            let Some(listener) = plan.listeners.iter().find(|listener| reaches(endpoint, listener.address)) else {
                continue;
            };
            let again = plan.routes.iter().map(|route| attempts(&plan.policies_of(route))).max().unwrap_or(1);
            let most = here.saturating_mul(again);
            let message = format!("is a listener of this gateway ({}): requests come back here", listener.address);
            let message = match most {
                0 | 1 => message,
                most => format!("{message}, and attempts multiply: {most} for each with every turn"),
            };
            let at = DocumentPath::root().key("upstreams").key(&upstream.name).key("endpoints").index(place);
            found.warn(Problem::new(at, message).help("send them to the upstream of the route that answers there"));
        }
    }
}

/// Whether an endpoint certainly is this listener. Names may be anybody's.
fn reaches(endpoint: &Endpoint, listener: SocketAddr) -> bool {
    let EndpointHost::Address(address) = endpoint.host else { return false };
    let same = address == listener.ip() || (listener.ip().is_unspecified() && address.is_loopback());
    same && endpoint.port == listener.port()
}
