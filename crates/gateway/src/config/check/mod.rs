//! From what is written to what can be built: every problem at once, or a plan.
//!
//! Each part of the document has its own module, which turns a value into its counterpart in the plan or
//! records why it cannot. A part that fails never stops the others from being looked at.

mod balance;
mod combinations;
mod filter;
mod health;
mod idempotency;
mod listener;
mod names;
mod operations;
mod pattern;
mod protect;
mod route;
#[cfg(test)]
mod tests;
mod upstream;
mod values;

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;

use super::document::Document;
use super::plan::Plan;
use super::problem::{DocumentPath, Problem};

/// A plan, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the data plane is built from.
    pub plan: Plan,
    /// What is probably not meant, though it works.
    pub warnings: Vec<Problem>,
}

/// Checks a document whose relative paths start at `folder`.
///
/// # Errors
///
/// Every problem that makes the document unusable; warnings are not among them.
pub fn check(document: &Document, folder: &Path) -> Result<Checked, Vec<Problem>> {
    let mut found = Findings::default();
    let plan = plan(document, folder, &mut found);
    match plan {
        Some(plan) if found.errors.is_empty() => {
            combinations::warn(document, &plan, &mut found);
            Ok(Checked { plan, warnings: found.warnings })
        }
        _ => Err(found.errors),
    }
}

fn plan(document: &Document, folder: &Path, found: &mut Findings) -> Option<Plan> {
    let root = DocumentPath::root();
    // Every part is checked before any failure ends this function, so that all problems are found.
    let mut listeners = listener::listeners(document, &root.key("listeners"), folder, found);
    let admin = operations::admin(&document.admin, &root.key("admin"), found);
    let upstreams = upstream::upstreams(&document.upstreams, &root.key("upstreams"), folder, found);
    let mut routes = route::routes(document, &root.key("routes"), found);
    let (doors, ways) = (listeners.as_deref_mut().unwrap_or_default(), routes.as_deref_mut().unwrap_or_default());
    let limits = filter::limits(document, doors, ways, found);
    idempotency::guards(document, ways, found);
    let policies = protect::policies(document, upstreams.as_deref().unwrap_or_default(), ways, limits, found);
    let access_log = &document.access_log;
    let access_log = operations::access_log(access_log, &root.key("access_log"), folder, found);
    Some(Plan {
        workers: workers(document),
        listeners: listeners?,
        admin: admin?,
        upstreams: upstreams?,
        routes: routes?,
        policies: policies?,
        access_log: access_log?,
        recent: document.recent.0.as_ref().map_or(0, |recent| recent.exchanges.as_usize()),
        headers: document.headers.clone(),
        shutdown: operations::shutdown(&document.shutdown),
        reload: document.reload.clone(),
        log: document.log.clone(),
    })
}

/// The number that is written, or the cores that this process may use; 256 at most.
fn workers(document: &Document) -> NonZeroUsize {
    let most = NonZeroUsize::new(256).expect("256 is not zero");
    match document.workers {
        Some(count) => NonZeroUsize::new(count.as_usize()).unwrap_or(NonZeroUsize::MIN),
        None => available_parallelism().unwrap_or(NonZeroUsize::MIN).min(most),
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Findings {
    fn error(&mut self, problem: Problem) {
        self.errors.push(problem);
    }

    fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    /// The value, or `None` with its flaw recorded at `place`.
    fn value<T>(&mut self, place: &DocumentPath, value: Result<T, Flaw>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(Flaw { message, help }) => {
                let problem = Problem::new(place.clone(), message);
                self.error(Problem { help, ..problem });
                None
            }
        }
    }

    /// All values of a list, or `None` with every flaw recorded at its item.
    fn list<T, U>(
        &mut self,
        place: &DocumentPath,
        list: &[T],
        parse: impl Fn(&T) -> Result<U, Flaw>,
    ) -> Option<Vec<U>> {
        let items = list.iter().enumerate();
        all(items.map(|(index, item)| self.value(&place.index(index), parse(item))))
    }
}

/// Every value, if none failed; all of them are looked at either way.
fn all<T>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut complete = Some(Vec::new());
    for value in values {
        complete = complete.zip(value).map(|(mut list, value)| {
            list.push(value);
            list
        });
    }
    complete
}

/// Why a value cannot be used, and what to write instead.
#[derive(Debug, PartialEq)]
struct Flaw {
    message: String,
    help: Option<String>,
}

impl Flaw {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}
