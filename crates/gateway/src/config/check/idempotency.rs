//! The guard of idempotency keys: one of a route at most, and only where requests are sent on.

use http::Method;

use super::filter::part;
use super::route::method;
use super::{Findings, Flaw};
use crate::config::document::{self, Document, Filter};
use crate::config::plan::{Idempotency, KeyBounds, Route};
use crate::config::problem::{DocumentPath, Problem};

/// Gives routes their guards.
pub(super) fn guards(document: &Document, routes: &mut [Route], found: &mut Findings) {
    let root = DocumentPath::root();
    for (index, listener) in document.listeners.iter().enumerate() {
        for (at, _) in written(&listener.filters, root.key("listeners").index(index).key("filters")) {
            let problem = Problem::new(at, "is a filter of routes: only a route knows where its requests go");
            found.error(Problem { help: Some("write it in `filters` of the route".to_owned()), ..problem });
        }
    }
    for (index, route) in document.routes.iter().enumerate() {
        let mut guards = written(&route.filters, root.key("routes").index(index).key("filters"));
        let Some((at, guard)) = guards.next() else { continue };
        if route.upstream.is_none() {
            found.error(Problem::new(at.clone(), "has nothing to guard: this route answers by itself"));
        }
        for (at, _) in guards {
            found.error(Problem::new(at, "is the second of this route: a key is looked up once"));
        }
        let planned = planned(guard, &at, found);
        if let (Some(route), Some(planned)) = (routes.get_mut(index), planned) {
            route.idempotency = Some(planned);
        }
    }
}

/// The guards of a list, each with its place.
fn written(list: &[Filter], at: DocumentPath) -> impl Iterator<Item = (DocumentPath, &document::Idempotency)> {
    let filters = list.iter().enumerate();
    filters.filter_map(move |(index, filter)| Some((at.index(index).key("idempotency"), filter.idempotency()?)))
}

fn planned(written: &document::Idempotency, at: &DocumentPath, found: &mut Findings) -> Option<Idempotency> {
    let by = found.list(&at.key("by"), &written.by, |text| part(text, written.ipv6_prefix.value()));
    if written.by.is_empty() {
        let problem = Problem::new(at.key("by"), "says nothing that tells clients apart");
        let help = "a client would get the answers of others; write `header:authorization`, or what your clients have";
        found.error(Problem { help: Some(help.to_owned()), ..problem });
    }
    let methods = found.list(&at.key("methods"), &written.methods, |text| with_effect(text));
    if written.methods.is_empty() {
        found.error(Problem::new(at.key("methods"), "has no method, so that it does nothing"));
    }
    let bounds = KeyBounds {
        keep: written.keep.duration(),
        max_keys: written.max_keys.as_usize(),
        max_memory: written.max_memory.as_usize(),
    };
    if written.max_answer.bytes() > written.max_memory.bytes() / 2 {
        let message = format!("is more than half of `max_memory`, which is {}", written.max_memory);
        found.error(Problem::new(at.key("max_answer"), message));
    }
    Some(Idempotency {
        by: by?,
        methods: methods?,
        required: written.required,
        max_body: written.max_body.as_usize(),
        max_answer: written.max_answer.as_usize(),
        release: written.release.clone(),
        bounds,
    })
}

/// A method that is not safe (RFC 9110 section 9.2.1): the others may be sent as often as one likes.
fn with_effect(text: &str) -> Result<Method, Flaw> {
    match method(text)? {
        safe if safe.is_safe() => {
            Err(Flaw::new(format!("{safe} has no effect to guard: it may be sent as often as one likes")))
        }
        method => Ok(method),
    }
}
