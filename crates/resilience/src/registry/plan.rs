//! What another document would change, as data and in words.

use std::collections::BTreeSet;
use std::fmt;

use crate::name::Name;

use super::View;
use super::blueprint::{Blueprint, Part};
use super::kinds::PolicyOptions;
use super::problem::Problem;

/// What a document changes, or would change. Displayed, it says so in one line for each change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Every policy of the document before and of this one, by name.
    pub policies: Vec<PolicyChange>,
    /// Every pipeline of the document before and of this one, by name.
    pub pipelines: Vec<PipelineChange>,
    /// What works, at a cost that is easily overlooked.
    pub warnings: Vec<Problem>,
}

/// What becomes of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// The policy.
    pub name: Name,
    /// Its kind; the one before, where it is removed.
    pub kind: &'static str,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone. Whoever holds it can go on using it; it follows no more documents.
    Removed,
    /// It has other options.
    Changed {
        /// Whether all that it has counted and learnt stays.
        keeps_state: bool,
    },
    /// Another kind of policy takes its name, and begins from nothing.
    Replaced {
        /// The kind before.
        was: &'static str,
    },
    /// It stays as it is.
    Unchanged,
}

impl Change {
    /// Whether a policy of this name had counted or learnt something that stays.
    pub const fn keeps_state(self) -> bool {
        matches!(self, Self::Unchanged | Self::Changed { keeps_state: true })
    }
}

/// What becomes of one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineChange {
    /// The pipeline.
    pub name: Name,
    /// What becomes of it.
    pub change: OrderChange,
}

/// What becomes of a pipeline, apart from the options of its policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other policies, or the same ones in another order. Calls under way, and handles that callers hold, keep
    /// the order before.
    Reordered {
        /// The policies before, outermost first.
        from: Vec<Name>,
        /// The policies from now on.
        to: Vec<Name>,
    },
    /// The order stays, and what is said of the pipeline as a whole changes.
    Changed,
    /// It stays as it is.
    Unchanged,
}

impl Plan {
    /// What becomes of a view with this blueprint.
    pub(super) fn between(view: &View, blueprint: &Blueprint) -> Self {
        let before = view.blueprint();
        let names: BTreeSet<_> = before.policies.keys().chain(blueprint.policies.keys()).collect();
        let policies = names.into_iter().map(|name| {
            let (was, is) = (before.policies.get(name), blueprint.policies.get(name));
            let kind = is.or(was).map_or("", |part| part.options.kind());
            PolicyChange { name: name.clone(), kind, change: policy_change(view, name, was, is) }
        });
        let names: BTreeSet<_> = before.pipelines.keys().chain(blueprint.pipelines.keys()).collect();
        let pipelines = names.into_iter().map(|name| {
            let change = match (before.pipelines.get(name), blueprint.pipelines.get(name)) {
                (None, _) => OrderChange::Added,
                (_, None) => OrderChange::Removed,
                (Some(was), Some(is)) if was.steps != is.steps => {
                    OrderChange::Reordered { from: was.steps.clone(), to: is.steps.clone() }
                }
                (was, is) if was != is => OrderChange::Changed,
                _ => OrderChange::Unchanged,
            };
            PipelineChange { name: name.clone(), change }
        });
        Self { policies: policies.collect(), pipelines: pipelines.collect(), warnings: blueprint.warnings.clone() }
    }

    /// How many policies and pipelines are new, changed or gone.
    pub fn changes(&self) -> usize {
        let policies = self.policies.iter().filter(|policy| policy.change != Change::Unchanged).count();
        let pipelines = self.pipelines.iter().filter(|pipeline| pipeline.change != OrderChange::Unchanged).count();
        policies + pipelines
    }

    /// What becomes of the policy of this name.
    pub fn policy(&self, name: &str) -> Option<Change> {
        self.policies.iter().find(|policy| *policy.name == *name).map(|policy| policy.change)
    }

    /// What becomes of the pipeline of this name.
    pub fn pipeline(&self, name: &str) -> Option<&OrderChange> {
        self.pipelines.iter().find(|pipeline| *pipeline.name == *name).map(|pipeline| &pipeline.change)
    }
}

fn policy_change(view: &View, name: &Name, was: Option<&Part>, is: Option<&Part>) -> Change {
    let (was, is) = match (was, is) {
        (None, _) => return Change::Added,
        (_, None) => return Change::Removed,
        (Some(was), Some(is)) => (was, is),
    };
    // What is in force, and not what was written: somebody may have changed a policy by its handle.
    let in_force = view.policy(name).and_then(PolicyOptions::of);
    let before = in_force.as_ref().unwrap_or(&was.options);
    if was.options.kind() != is.options.kind() {
        Change::Replaced { was: was.options.kind() }
    } else if was.for_each_key != is.for_each_key {
        Change::Changed { keeps_state: false }
    } else if *before == is.options {
        Change::Unchanged
    } else {
        Change::Changed { keeps_state: before.keeps_state(&is.options) }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes() == 0 {
            formatter.write_str("nothing changes")?;
        }
        let mut separator = if self.changes() == 0 { "\n" } else { "" };
        for line in self.lines() {
            write!(formatter, "{separator}{line}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl Plan {
    fn lines(&self) -> impl Iterator<Item = String> {
        let policies = self.policies.iter().filter_map(|PolicyChange { name, kind, change }| {
            Some(match change {
                Change::Added => format!("+ {kind} `{name}`"),
                Change::Removed => format!("- {kind} `{name}`"),
                Change::Changed { keeps_state: true } => format!("~ {kind} `{name}`: other options, keeps its state"),
                Change::Changed { keeps_state: false } => format!("~ {kind} `{name}`: other options, counts anew"),
                Change::Replaced { was } => format!("~ {kind} `{name}`: was a {was}, begins anew"),
                Change::Unchanged => return None,
            })
        });
        let pipelines = self.pipelines.iter().filter_map(|PipelineChange { name, change }| {
            Some(match change {
                OrderChange::Added => format!("+ pipeline `{name}`"),
                OrderChange::Removed => format!("- pipeline `{name}`"),
                OrderChange::Reordered { from, to } => {
                    format!("~ pipeline `{name}`: {} becomes {}", order(from), order(to))
                }
                OrderChange::Changed => format!("~ pipeline `{name}`: other options"),
                OrderChange::Unchanged => return None,
            })
        });
        policies.chain(pipelines).chain(self.warnings.iter().map(|warning| format!("! {warning}")))
    }
}

fn order(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" > ") }
}
