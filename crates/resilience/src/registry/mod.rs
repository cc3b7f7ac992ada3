//! Registry: named policies and pipelines from one document, changed as a whole while calls run.
//!
//! A [`Document`] is what is written. It is checked into a blueprint, in which nothing can fail any more, and from that
//! and what there is already the next [`View`] is made: policies of the same name and kind are taken over and given
//! their new options, others are new. Views are swapped with one store, so that nobody sees half of a document.
//!
//! ```
//! # #[cfg(feature = "serde")] {
//! use tidegate_resilience::{Document, Environment, Registry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let document: Document = serde_json::from_str(
//!     r#"{
//!         "policies": { "payments-db": { "circuit_breaker": { "consecutive_failures": 3 } } },
//!         "pipelines": {
//!             "checkout": [{ "timeout": { "total": "2s" } }, { "retry": { "attempts": 3 } }, { "use": "payments-db" }]
//!         }
//!     }"#,
//! )?;
//! let registry = Registry::new(&document, &Environment::default())?;
//! let paid = registry.execute("checkout", || async { Ok::<_, std::io::Error>(42) }).await?;
//! assert_eq!(paid, 42);
//!
//! let mut other = document.clone();
//! other.pipelines.clear();
//! println!("{}", registry.plan(&other)?);
//! registry.apply(&other)?;
//! assert!(registry.pipeline("checkout").is_none());
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! Invariants: a document with a mistake changes nothing; a policy keeps its state for as long as documents call it by
//! the same name and kind; a call under way goes on with what it has.

mod blueprint;
mod document;
mod keyed;
mod kinds;
mod plan;
mod problem;
mod rest;
#[cfg(all(test, not(tidegate_models)))]
mod tests;
mod view;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

pub use document::{Document, PerKeyOptions, PipelineOptions, PolicyOptions, StepOptions};
pub use keyed::KeyStats;
pub use kinds::PolicyStats;
pub use plan::{Change, OrderChange, PipelineChange, Plan, PolicyChange};
pub use problem::{Problem, Problems};
pub use view::View;
pub(crate) use view::unknown;

use crate::clock::Reading;
use crate::error::Rejection;
use crate::event::{Happening, Listener};
use crate::name::Name;
use crate::pipeline::Pipeline;
use crate::policies::Step;
use crate::policy::Environment;
use blueprint::Blueprint;

/// Named policies and pipelines. Cheap to clone: clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    view: ArcSwap<View>,
    /// Held by whoever makes the next view from this one.
    change: Mutex<()>,
    applied: AtomicU64,
    environment: Environment,
}

/// What a registry holds, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryStats {
    /// Policies, without those of single keys.
    pub policies: u64,
    /// Pipelines.
    pub pipelines: u64,
    /// How many documents have been put in force, with the first.
    pub applied: u64,
    /// The keys of every pipeline that has policies for each.
    pub keys: Vec<KeyStats>,
}

impl Registry {
    /// A registry of what is in this document. All its policies have the clock, the randomness and the events of this
    /// environment.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the document.
    pub fn new(document: &Document, environment: &Environment) -> Result<Self, Problems> {
        let inner = Inner {
            view: ArcSwap::default(),
            change: Mutex::new(()),
            applied: AtomicU64::new(0),
            environment: environment.clone(),
        };
        let registry = Self { inner: Arc::new(inner) };
        registry.apply(document)?;
        Ok(registry)
    }

    /// What another document would change, without changing anything.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the document.
    pub fn plan(&self, document: &Document) -> Result<Plan, Problems> {
        let blueprint = Blueprint::of(document)?;
        Ok(Plan::between(&self.load(), &blueprint))
    }

    /// Puts another document in force, and returns what has changed. One after the other, where several do so at once.
    ///
    /// Policies of the same name and kind stay and have the new options: handles that callers hold go on. A pipeline
    /// that a caller holds, or that a call runs through, keeps its order.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the document; the one before stays in force.
    pub fn apply(&self, document: &Document) -> Result<Plan, Problems> {
        let _only_one = self.inner.change.lock();
        let environment = &self.inner.environment;
        let blueprint = Blueprint::of(document)?;
        let before = self.view();
        let plan = Plan::between(&before, &blueprint);
        self.inner.view.store(Arc::new(before.followed_by(document.clone(), blueprint, environment)));
        self.inner.applied.fetch_add(1, Ordering::Relaxed);
        let changes = u32::try_from(plan.changes()).unwrap_or(u32::MAX);
        let emitter = environment.emitter(&Name::from("registry"));
        emitter.emit(&Reading::of(&environment.clock), || Happening::RegistryApplied { changes });
        Ok(plan)
    }

    /// What is in force now, for any number of look-ups.
    pub fn view(&self) -> Arc<View> {
        self.inner.view.load_full()
    }

    pub(crate) fn load(&self) -> Guard<Arc<View>> {
        self.inner.view.load()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.inner.environment
    }

    /// Listens to what all of its policies tell, and to the documents that it takes over: see
    /// [`Events`](crate::Events).
    pub fn subscribe(&self, capacity: usize) -> Listener {
        self.inner.environment.events.subscribe(capacity)
    }

    /// The document in force.
    pub fn document(&self) -> Document {
        self.load().document().clone()
    }

    /// The policy of this name: one that is named in the document, or one of a single pipeline, `pipeline/kind`.
    pub fn policy(&self, name: &str) -> Option<Step> {
        self.load().policy(name).cloned()
    }

    /// The pipeline of this name; nothing where each key has its own. Ask for it again for each call, or keep a
    /// [`View`]: a handle that is kept does not follow where a document changes the order.
    pub fn pipeline(&self, name: &str) -> Option<Pipeline> {
        self.load().pipeline(name).cloned()
    }

    /// The pipeline of this name for this key, which has no effect where all keys have the same.
    ///
    /// # Errors
    ///
    /// `UnknownPolicy`, and `TooManyKeys` for a new key where the policies of all keys that were looked at are at work.
    pub fn pipeline_for(&self, name: &str, key: &str) -> Result<Pipeline, Rejection> {
        self.load().pipeline_for(name, key)
    }

    /// The names of all policies and then of all pipelines, each in their order.
    pub fn names(&self) -> (Vec<Name>, Vec<Name>) {
        let view = self.load();
        (view.policy_names().cloned().collect(), view.pipeline_names().cloned().collect())
    }

    /// Calls `visit` for every policy, in the order of their names: for statistics, see
    /// [`PolicyStats::of`]. Those of single keys are left out: [`View::for_each_key`].
    pub fn for_each_policy(&self, visit: impl FnMut(&Name, &Step)) {
        self.view().for_each_policy(visit);
    }

    /// What it holds.
    pub fn stats(&self) -> RegistryStats {
        let view = self.load();
        RegistryStats {
            policies: view.policy_names().count() as u64,
            pipelines: view.pipeline_names().count() as u64,
            applied: self.inner.applied.load(Ordering::Relaxed),
            keys: view.key_stats(),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registry").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
