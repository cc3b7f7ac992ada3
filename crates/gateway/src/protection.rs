//! The policies of a configuration: the library's, in a registry that lives as long as the process.
//!
//! A snapshot names pipelines; what they are made of goes on through reloads, with all that it has counted and learnt,
//! where the configuration calls it by the same name. Nothing of a policy is decided here.

use tidegate_resilience::{Document, Environment, Happening, Pipeline, Problems, Registry, View};

/// Reads what came of a request. How is known where requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByAnswer;

/// The policies around the requests of a route.
pub(crate) type Protection = Pipeline<ByAnswer>;

/// All policies.
#[derive(Debug, Clone)]
pub struct Policies {
    registry: Registry,
}

impl Policies {
    /// The policies of the first configuration.
    pub(crate) fn new(document: &Document) -> Result<Self, Problems> {
        Ok(Self { registry: Registry::new(document, &Environment::default())? })
    }

    /// Checks the policies of another configuration, and changes nothing.
    pub(crate) fn check(&self, document: &Document) -> Result<(), Problems> {
        self.registry.plan(document).map(drop)
    }

    /// Puts them in force.
    pub(crate) fn put_in_force(&self, document: &Document) -> Result<(), Problems> {
        let plan = self.registry.apply(document)?;
        if plan.changes() > 0 {
            let changes = u32::try_from(plan.changes()).unwrap_or(u32::MAX);
            tracing::info!(event = Happening::RegistryApplied { changes }.name(), changes, "policies changed");
        }
        Ok(())
    }

    /// The pipeline of that name, as it is in force now; nothing where it has no policies.
    pub(crate) fn protection(view: &View, name: &str) -> Option<Protection> {
        let pipeline = view.pipeline(name).filter(|pipeline| !pipeline.steps().is_empty())?;
        Some(pipeline.classified_by(ByAnswer))
    }

    /// The registry, for statistics and events.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}
