//! Policies around requests: what is written in `policies` and `protect`, as one document of the library.
//!
//! The library checks what it can: options, names and the order of steps. What it says is brought back to where it is
//! written here.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tidegate_resilience as resilience;
use tidegate_resilience::{
    Backoff, Environment, Lint, PipelineOptions, PolicyOptions, Registry, RetryBudgetOptions, RetryOptions, StepOptions,
};

use super::filter::Limits;
use super::{Findings, names};
use crate::config::document::{self, Document};
use crate::config::plan::{Action, Route, Upstream};
use crate::config::problem::{DocumentPath, Problem};

/// What protects an upstream of which nothing is written.
fn default_steps() -> Vec<StepOptions> {
    let retry = RetryOptions {
        attempts: 2,
        backoff: Backoff::Exponential { base: Duration::from_millis(25), factor: 2.0, cap: Duration::from_millis(250) },
        retry_after_cap: Duration::from_secs(1),
        budget: Some(RetryBudgetOptions { ratio: resilience::Ratio::percent(9), ..RetryBudgetOptions::default() }),
        ..RetryOptions::default()
    };
    vec![PolicyOptions::Retry(retry).into()]
}

/// The document of the library, and where each of its pipelines is written.
#[derive(Default)]
struct Writer {
    document: resilience::Document,
    places: BTreeMap<String, Place>,
    /// Limits in front of routes, which are policies of no pipeline.
    limits: Limits,
}

/// Where the steps of a pipeline are written.
struct Place {
    at: DocumentPath,
    /// How many of the steps are; those behind them are the upstream's.
    written: usize,
    /// Whether the gateway ends attempts that hang, by `timeouts.response`.
    bounded: bool,
    /// Whether there are requests that may be sent twice.
    repeats: bool,
    /// Whether there is one step, of which the options alone are written.
    alone: bool,
}

/// Names the pipeline of every route that has one, and returns all policies and pipelines, with those of `limits`.
pub(super) fn policies(
    document: &Document,
    upstreams: &[Upstream],
    routes: &mut [Route],
    limits: Limits,
    found: &mut Findings,
) -> Option<resilience::Document> {
    let root = DocumentPath::root();
    let mut writer = Writer::default();
    for (name, options) in &document.policies {
        let place = root.key("policies").key(name);
        if found.value(&place, names::upstream(name)).is_some() {
            writer.document.policies.insert(name.clone(), options.clone());
        }
    }
    for (name, options) in limits.policies() {
        writer.document.policies.insert(name.to_owned(), options.clone());
    }
    writer.limits = limits;
    for (name, upstream) in &document.upstreams {
        let at = root.key("upstreams").key(name).key("protect");
        let steps = upstream.protect.clone().unwrap_or_else(default_steps);
        let bounded = upstream.timeouts.response.0.is_some();
        let written = upstream.protect.as_ref().map_or(0, Vec::len);
        writer.add(name.clone(), Place { at, written, bounded, repeats: true, alone: false }, steps, &[], found);
    }
    for upstream in upstreams {
        let Some(options) = document.upstreams.get(&*upstream.name).and_then(|it| it.endpoint_breaker.as_ref()) else {
            continue;
        };
        let at = root.key("upstreams").key(&upstream.name).key("endpoint_breaker");
        for endpoint in &upstream.endpoints {
            let place = Place { at: at.clone(), written: 1, bounded: true, repeats: true, alone: true };
            let step = PolicyOptions::CircuitBreaker(options.clone()).into();
            writer.add(Upstream::pipeline_of(&upstream.name, endpoint), place, vec![step], &[], found);
        }
    }
    let upstreams: Vec<_> = document.upstreams.iter().collect();
    for (index, (written, route)) in document.routes.iter().zip(routes).enumerate() {
        let at = root.key("routes").index(index).key("protect");
        let Action::Forward(upstream) = route.action else {
            if !written.protect.is_empty() {
                found.error(Problem::new(at, "protects nothing: the route does not forward to an upstream"));
            }
            continue;
        };
        let Some((name, upstream)) = upstreams.get(upstream) else { continue };
        route.protection = writer.route(&route.name, written, name, upstream, &at, found);
    }
    writer.check(found)
}

impl Writer {
    /// The pipeline of a route: its own policies, and the upstream's inside them. `None` where there are none at all.
    fn route(
        &mut self,
        name: &str,
        written: &document::Route,
        upstream: &str,
        upstream_written: &document::Upstream,
        at: &DocumentPath,
        found: &mut Findings,
    ) -> Option<Arc<str>> {
        let inner = self.document.pipelines.get(upstream)?;
        if written.protect.is_empty() {
            return (!inner.steps.is_empty()).then(|| upstream.into());
        }
        // What nobody has written gives way to what somebody has.
        let retries = |step: &StepOptions| matches!(self.document.policy_of(step), Some(PolicyOptions::Retry(_)));
        let inner: Vec<_> = match upstream_written.protect {
            None if written.protect.iter().any(retries) => Vec::new(),
            _ => inner.policy_names(upstream).into_iter().map(StepOptions::Use).collect(),
        };
        let name = format!("route {name}");
        let methods = &written.matches.method.0;
        let may_repeat = |method: &String| Method::from_bytes(method.as_bytes()).is_ok_and(|own| own.is_idempotent());
        let repeats = written.idempotent || methods.is_empty() || methods.iter().any(may_repeat);
        let response = written.timeouts.response.unwrap_or(upstream_written.timeouts.response);
        let place = Place {
            at: at.clone(),
            written: written.protect.len(),
            bounded: response.0.is_some(),
            repeats,
            alone: false,
        };
        self.add(name.clone(), place, written.protect.clone(), &inner, found);
        Some(name.into())
    }

    fn add(&mut self, name: String, place: Place, own: Vec<StepOptions>, inner: &[StepOptions], found: &mut Findings) {
        for (index, step) in own.iter().enumerate() {
            if matches!(self.document.policy_of(step), Some(PolicyOptions::KeyedRateLimit(_))) {
                let problem = Problem::new(place.at.index(index), "nothing here says what the key of a request is");
                found.error(problem.help("limit by key with a `rate_limit` filter of the route"));
            }
        }
        let steps = own.into_iter().chain(inner.iter().cloned());
        let pipeline = PipelineOptions { idempotent: place.repeats, ..PipelineOptions::from_iter(steps) };
        self.places.insert(name.clone(), place);
        self.document.pipelines.insert(name, pipeline);
    }

    /// Has the library check it all, and says where what it finds is written.
    fn check(self, found: &mut Findings) -> Option<resilience::Document> {
        match Registry::new(&self.document, &Environment::default()) {
            Ok(registry) => {
                let warnings = registry.plan(&self.document).map(|plan| plan.warnings).unwrap_or_default();
                self.located(&warnings).into_iter().for_each(|problem| found.warn(problem));
                Some(self.document)
            }
            Err(problems) => {
                self.located(&problems.0).into_iter().for_each(|problem| found.error(problem));
                None
            }
        }
    }

    /// Each problem once, at the place in the configuration that causes it.
    fn located(&self, problems: &[resilience::Problem]) -> Vec<Problem> {
        let mut seen = HashSet::new();
        let located = problems.iter().filter_map(|problem| {
            let (at, help) = self.place(&problem.path, problem.lint)?;
            let code = problem.lint.map(|lint| format!(" [{}]", lint.name())).unwrap_or_default();
            let located = Problem { help, ..Problem::new(at, format!("{}{code}", problem.message)) };
            // What is wrong with a `use` is that nothing has the name.
            let unknown = problem.lint.is_none() && problem.path.ends_with(".use");
            Some(if unknown { located.refers_to(DocumentPath::root().key("policies")) } else { located })
        });
        located.filter(|problem| seen.insert((problem.path.clone(), problem.message.clone()))).collect()
    }

    /// The place of what the library calls `pipelines.app[2].retry.attempts` or `policies.db.bulkhead.queue`, and what
    /// to know about it. `None` for what is not so here.
    fn place(&self, path: &str, lint: Option<Lint>) -> Option<(DocumentPath, Option<String>)> {
        if let Some(rest) = path.strip_prefix("policies.") {
            if let Some((at, rest)) = self.limits.find(rest) {
                return Some((below(at.clone(), rest), None));
            }
            let mut names = self.document.policies.keys();
            let name = names.find(|name| rest.strip_prefix(*name).is_some_and(|rest| rest.starts_with('.')));
            let name = name.map_or(rest, String::as_str);
            let at = DocumentPath::root().key("policies").key(name);
            return Some((below(at, rest.strip_prefix(name).unwrap_or_default()), None));
        }
        let rest = path.strip_prefix("pipelines.").unwrap_or(path);
        let named = |(name, _): &(&String, &Place)| {
            let rest = rest.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
        };
        // A name may begin with another one: `app` and `app.old`.
        let (name, place) = self.places.iter().filter(named).max_by_key(|(name, _)| name.len())?;
        let unwritten = place.written == 0;
        let needless = match lint {
            Some(Lint::RetryWithoutTimeout) => place.bounded,
            // Which requests are is known of each of them.
            Some(Lint::HedgeNotIdempotent) => true,
            _ => false,
        };
        if lint.is_some() && (unwritten || needless) {
            return None;
        }
        let rest = &rest[name.len()..];
        let rest = rest.strip_prefix(".steps").unwrap_or(rest);
        if place.alone {
            let options = rest.strip_prefix("[0].circuit_breaker").unwrap_or_default();
            return Some((below(place.at.clone(), options), None));
        }
        let index = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')?.0.parse::<usize>().ok());
        match index {
            // A step of the upstream does not go with those around it.
            Some(index) if index >= place.written => Some((
                place.at.clone(),
                Some("the policies of the upstream stand inside those of the route".to_owned()),
            )),
            _ => Some((below(place.at.clone(), rest), None)),
        }
    }
}

/// The place at the end of `[2].retry.backoff.base`, starting from `at`.
fn below(at: DocumentPath, path: &str) -> DocumentPath {
    let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
    steps.fold(at, |at, step| match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
        Some(index) => at.index(index),
        None => at.key(step),
    })
}
