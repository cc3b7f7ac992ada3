//! What `explain` says of a request that goes to an upstream: where to, for how long, how often, and what stands in.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tidegate_gateway::config::plan::{
    Action, Applied, Balance, BodyLimit, Endpoint, Fallback, HashBy, HealthCheck, Outlier, Probe, ProbeMethod, Route,
    Upstream,
};
use tidegate_gateway::config::units::Size;
use tidegate_resilience::{Mode, PolicyOptions, duration_text};

use crate::config::Loaded;
use crate::policies::{self, origin};

/// A request at the route that forwards it.
pub(super) struct Forwarded<'p> {
    loaded: &'p Loaded,
    route: &'p Route,
    pub(super) upstream: &'p Upstream,
    method: &'p Method,
    /// The policies around it, outermost first.
    applied: Vec<Applied<'p>>,
}

impl<'p> Forwarded<'p> {
    /// The request, where the route sends it on; nothing where the route answers by itself.
    pub(super) fn new(loaded: &'p Loaded, route: &'p Route, method: &'p Method) -> Option<Self> {
        let Action::Forward(index) = route.action else { return None };
        let upstream = loaded.plan.upstreams.get(index)?;
        Some(Self { loaded, route, upstream, method, applied: loaded.plan.policies_of(route) })
    }

    /// What there is to say, each under its title. A line without a title belongs to the one above.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("endpoints", endpoints(self.upstream)), ("balance", balance(&self.upstream.balance))];
        lines.extend(self.upstream.health_check.as_ref().map(|check| ("health", health(check))));
        lines.extend(self.upstream.outlier.as_ref().map(|outlier| ("ejection", ejection(outlier))));
        lines.extend(self.breaker().map(|breaker| ("breakers", breaker)));
        lines.push(("time", self.times()));
        lines.push(("body", self.body()));
        lines.push(("twice", self.twice()));
        let table = self.table();
        match table.is_empty() {
            true => lines.push(("policies", "none".to_owned())),
            false => lines.push(("policies", "the first is the outermost".to_owned())),
        }
        lines.extend(table.into_iter().map(|row| ("", row)));
        lines.extend(self.route.fallback.as_ref().map(|fallback| ("fallback", self.fallback(fallback))));
        lines
    }

    /// The same for programs, as far as it is not written in the route or the upstream.
    pub(super) fn value(&self) -> Value {
        let policies = self.applied.iter().map(|policy| {
            json!({
                "name": policy.name,
                "kind": policy.options.kind(),
                "from": origin(self.loaded, self.route, &policy.name).as_str(),
                "options": policies::written(policy.options),
            })
        });
        json!({
            "policies": policies.collect::<Vec<_>>(),
            "may_be_sent_twice": self.harmless(),
            "most_attempts": self.attempts(),
            "body_kept": if self.keeps_body() { self.upstream.replay } else { 0 },
        })
    }

    /// The breaker that each endpoint has.
    fn breaker(&self) -> Option<String> {
        let options = self.loaded.document.upstreams.get(&*self.upstream.name)?.endpoint_breaker.clone()?;
        let options = policies::line(&PolicyOptions::CircuitBreaker(options));
        Some(format!("a circuit breaker of each endpoint: {options}"))
    }

    fn times(&self) -> String {
        let times = &self.route.timeouts;
        format!(
            "{} for a connection, {} for the head of the answer, {} without progress of its body, {} in all",
            time(Some(self.upstream.timeouts.connect)),
            time(times.response),
            time(times.body),
            time(times.total)
        )
    }

    fn body(&self) -> String {
        let limit = match self.route.max_body {
            BodyLimit::OfListener => "as large as the listener allows".to_owned(),
            BodyLimit::Bytes(bytes) => format!("at most {bytes} bytes"),
            BodyLimit::Unlimited => "as large as it likes".to_owned(),
        };
        match self.keeps_body() {
            true => format!("{limit}; up to {} of it are kept to be sent again", size(self.upstream.replay)),
            false => limit,
        }
    }

    /// Whether a second copy of the request does no harm (RFC 9110 section 9.2.2).
    fn harmless(&self) -> bool {
        self.route.idempotent || self.method.is_idempotent()
    }

    /// Whether a body is kept until the answer begins.
    fn keeps_body(&self) -> bool {
        let goes_over = self.route.fallback.as_ref().is_some_and(|other| matches!(other.action, Action::Forward(_)));
        self.harmless() && self.upstream.replay > 0 && (goes_over || self.attempts() > 1)
    }

    /// How often policies send a request to the upstream at most.
    fn attempts(&self) -> u32 {
        let times = self.applied.iter().map(|policy| match policy.options {
            PolicyOptions::Retry(options) if options.mode == Mode::Enabled => options.attempts.max(1),
            PolicyOptions::Hedge(options) if options.mode == Mode::Enabled && self.harmless() => {
                options.max.saturating_add(1)
            }
            _ => 1,
        });
        times.fold(1, u32::saturating_mul)
    }

    /// Whether the request may be sent twice, and why.
    fn twice(&self) -> String {
        let reason = match (self.route.idempotent, self.method.is_idempotent()) {
            (true, _) => "may be, since the route is `idempotent`".to_owned(),
            (false, true) => format!("may be, since {} is idempotent", self.method),
            (false, false) => format!(
                "may be only while no endpoint can have acted on it: {} is not idempotent, and the route does not say so",
                self.method
            ),
        };
        match self.attempts() {
            1 => format!("{reason}; but no policy asks for it"),
            most => format!("{reason}; {most} attempts at most"),
        }
    }

    /// One row for each policy, in columns.
    fn table(&self) -> Vec<String> {
        let columns = self.applied.iter().map(|policy| {
            let from = origin(self.loaded, self.route, &policy.name).as_str();
            ([policy.options.kind(), &policy.name, from], policies::line(policy.options))
        });
        let rows: Vec<([&str; 3], String)> = columns.collect();
        let width = |column: usize| rows.iter().map(|(row, _)| row[column].chars().count()).max().unwrap_or_default();
        let (kind, name, from) = (width(0), width(1), width(2));
        let row = |(row, options): &([&str; 3], String)| {
            format!("{:kind$}  {:name$}  {:from$}  {options}", row[0], row[1], row[2])
        };
        rows.iter().map(row).collect()
    }

    fn fallback(&self, fallback: &Fallback) -> String {
        let who = match &fallback.action {
            Action::Forward(index) => {
                let name = self.loaded.plan.upstreams.get(*index).map_or("", |upstream| &upstream.name);
                let when = if self.harmless() { "" } else { ", while no endpoint can have acted on the request" };
                format!("upstream `{name}`{when}")
            }
            Action::Respond(respond) => format!("an answer with {}", respond.status),
            Action::Redirect(redirect) => format!("a redirect with {}", redirect.status),
        };
        let statuses: Vec<_> = fallback.statuses.iter().map(ToString::to_string).collect();
        match statuses.is_empty() {
            true => format!("{who}, where there is no answer"),
            false => format!("{who}, where there is no answer or one with {}", statuses.join(", ")),
        }
    }
}

fn endpoints(upstream: &Upstream) -> String {
    let endpoint = |endpoint: &Endpoint| {
        let mut notes = Vec::new();
        if endpoint.drain {
            notes.push("drains".to_owned());
        } else if endpoint.weight != 1 {
            notes.push(format!("weight {}", endpoint.weight));
        }
        if endpoint.tier > 0 {
            notes.push(format!("tier {}", endpoint.tier));
        }
        if notes.is_empty() { endpoint.to_string() } else { format!("{endpoint} ({})", notes.join(", ")) }
    };
    upstream.endpoints.iter().map(endpoint).collect::<Vec<_>>().join(", ")
}

fn balance(balance: &Balance) -> String {
    match balance {
        Balance::RoundRobin => "in turn, by weight".to_owned(),
        Balance::LeastRequests => "the endpoint with the fewest requests".to_owned(),
        Balance::LeastConnections => "the endpoint with the fewest connections".to_owned(),
        Balance::PeakEwma => "the endpoint that is likely to answer first, of two".to_owned(),
        Balance::IpHash => "the same endpoint for the same client address".to_owned(),
        Balance::Maglev(by) => format!("the same endpoint for the same {}", key(by)),
        Balance::StickyCookie(cookie) => format!("the endpoint that cookie `{}` names", cookie.name),
    }
}

fn key(by: &HashBy) -> String {
    match by {
        HashBy::Header(name) => format!("field `{name}`"),
        HashBy::Cookie(name) => format!("cookie `{name}`"),
        HashBy::ClientAddress => "client address".to_owned(),
        HashBy::Path => "path".to_owned(),
    }
}

fn health(check: &HealthCheck) -> String {
    let probe = match &check.probe {
        Probe::Http { path, method, .. } => {
            let method = match method {
                ProbeMethod::Get => "GET",
                ProbeMethod::Head => "HEAD",
                ProbeMethod::Options => "OPTIONS",
            };
            format!("{method} {path}")
        }
        Probe::Tcp => "a connection".to_owned(),
        Probe::Grpc { service } if service.is_empty() => "gRPC health check".to_owned(),
        Probe::Grpc { service } => format!("gRPC health check of `{service}`"),
    };
    let (every, limit) = (duration_text(check.interval), duration_text(check.timeout));
    let (failed, passed) = (check.unhealthy_after, check.healthy_after);
    format!("{probe} every {every}, within {limit}; out after {failed} that fail, back after {passed} that pass")
}

fn ejection(outlier: &Outlier) -> String {
    let failures = outlier.consecutive_failures.map(|failures| format!("after {failures} failures in a row"));
    let rate = outlier.success_rate.as_ref().map(|_| "for a success rate far below the others'".to_owned());
    let why: Vec<_> = failures.into_iter().chain(rate).collect();
    let first = duration_text(outlier.base_ejection);
    format!("{}; {first} at first, {}% of the endpoints at most", why.join(" or "), outlier.max_ejected)
}

fn time(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |limit| format!("{limit:?}"))
}

fn size(bytes: usize) -> String {
    const MOST: u64 = 16 << 20;
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).min(MOST);
    Size::<0, MOST>::of(bytes).to_string()
}
