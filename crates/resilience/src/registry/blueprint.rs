//! A document that was checked: every policy by its name, and every pipeline as a list of names.
//!
//! Nothing in a blueprint can fail any more: all policies have been built once, for trial, in an environment that
//! nobody listens to.

use std::collections::{BTreeMap, HashMap};

use crate::error::InvalidOption;
use crate::lint::{self, Level};
use crate::name::Name;
use crate::pipeline::placed;
use crate::policies::Step;
use crate::policy::Environment;

use super::document::{Document, PerKeyOptions, PipelineOptions, PolicyOptions, StepOptions};
use super::problem::{Problem, Problems};

/// What there is to build. Every step of a pipeline is the name of a policy.
#[derive(Debug, Default)]
pub(super) struct Blueprint {
    pub(super) policies: BTreeMap<Name, Part>,
    pub(super) pipelines: BTreeMap<Name, Course>,
    /// What works, at a cost that is easily overlooked.
    pub(super) warnings: Vec<Problem>,
}

/// One policy.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    pub(super) options: PolicyOptions,
    /// Whether each key has its own.
    pub(super) for_each_key: bool,
}

/// One pipeline.
#[derive(Debug, PartialEq)]
pub(super) struct Course {
    pub(super) steps: Vec<Name>,
    pub(super) per_key: Option<PerKeyOptions>,
    pub(super) idempotent: bool,
}

impl Blueprint {
    /// Checks a document.
    pub(super) fn of(document: &Document) -> Result<Self, Problems> {
        let trial = Environment::default();
        let mut check = Check { trial, blueprint: Self::default(), built: HashMap::new(), problems: vec![] };
        for (name, options) in &document.policies {
            let path = format!("policies.{name}");
            check.name(&path, name);
            check.policy(Name::from(name), &path, options, false);
        }
        for (name, options) in &document.pipelines {
            check.policies_of(name, options);
        }
        for (name, options) in &document.pipelines {
            check.pipeline(name, options);
        }
        if check.problems.is_empty() { Ok(check.blueprint) } else { Err(Problems(check.problems)) }
    }

    /// Whether a pipeline is the same in another blueprint, with the options of all its policies.
    pub(super) fn is_same(&self, pipeline: &Name, other: &Self) -> bool {
        match (self.pipelines.get(pipeline), other.pipelines.get(pipeline)) {
            (Some(here), Some(there)) if here == there => {
                here.steps.iter().all(|step| self.policies.get(step) == other.policies.get(step))
            }
            _ => false,
        }
    }
}

struct Check {
    trial: Environment,
    blueprint: Blueprint,
    /// The policies that could be built.
    built: HashMap<Name, Step>,
    problems: Vec<Problem>,
}

impl Check {
    fn report(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into(), lint: None });
    }

    /// The name of a policy. What holds a `/` is one of a single pipeline.
    fn name(&mut self, path: &str, name: &str) {
        if name.is_empty() || name.chars().count() > 128 || name.contains('/') {
            self.report(path, "a name has 1 to 128 characters, and no `/`");
        }
    }

    fn policy(&mut self, name: Name, path: &str, options: &PolicyOptions, for_each_key: bool) {
        match options.build(name.clone(), &self.trial) {
            Ok(step) => _ = self.built.insert(name.clone(), step),
            Err(InvalidOption { option, problem }) => {
                self.report(format!("{path}.{}.{option}", options.kind()), problem);
            }
        }
        self.blueprint.policies.insert(name, Part { options: options.clone(), for_each_key });
    }

    /// Takes the policies that belong to one pipeline alone; another one may use them all the same.
    fn policies_of(&mut self, name: &str, options: &PipelineOptions) {
        let path = format!("pipelines.{name}");
        if name.is_empty() || name.chars().count() > 256 {
            self.report(&path, "a name has 1 to 256 characters");
        }
        if options.per_key.is_some_and(|per_key| !(1..=1_000_000).contains(&per_key.max_keys)) {
            self.report(format!("{path}.per_key.max_keys"), "must be from 1 to 1000000");
        }
        let list = list(name, options);
        for (index, (step, own)) in options.steps.iter().zip(options.policy_names(name)).enumerate() {
            if let StepOptions::Policy(policy) = step {
                self.own(Name::from(own), &format!("{list}[{index}]"), policy, options.per_key.is_some());
            }
        }
    }

    fn pipeline(&mut self, name: &str, options: &PipelineOptions) {
        let list = list(name, options);
        let steps = options.steps.iter().zip(options.policy_names(name)).enumerate();
        let steps = steps.map(|(index, (step, own))| match step {
            StepOptions::Use(used) => self.used(used, &format!("{list}[{index}]")),
            StepOptions::Policy(_) => Name::from(own),
        });
        let steps: Vec<_> = steps.collect();
        self.order(&list, &steps, options.idempotent);
        let course = Course { steps, per_key: options.per_key, idempotent: options.idempotent };
        self.blueprint.pipelines.insert(Name::from(name), course);
    }

    fn used(&mut self, name: &str, path: &str) -> Name {
        match self.blueprint.policies.get(name) {
            Some(part) if part.for_each_key => {
                self.report(format!("{path}.use"), format!("`{name}` is another policy for each key"));
            }
            Some(_) => {}
            None => self.report(format!("{path}.use"), format!("there is no policy `{name}`")),
        }
        Name::from(name)
    }

    fn own(&mut self, name: Name, path: &str, options: &PolicyOptions, per_key: bool) {
        if per_key && matches!(options, PolicyOptions::KeyedRateLimit(_)) {
            let message = "would follow all keys again for each key: write `rate_limit`, or `use` a named one";
            self.report(format!("{path}.{}", options.kind()), message);
        }
        self.policy(name, path, options, per_key && !options.is_stateless());
    }

    /// Checks the order, if all of the policies could be built.
    fn order(&mut self, list: &str, names: &[Name], idempotent: bool) {
        let Some(steps) = names.iter().map(|name| self.built.get(name).cloned()).collect() else { return };
        for finding in lint::check(&placed(steps), idempotent) {
            let path = format!("{list}[{}]", finding.step);
            let problem = Problem { path, message: finding.message, lint: Some(finding.code) };
            match finding.level {
                Level::Error => self.problems.push(problem),
                Level::Warning => self.blueprint.warnings.push(problem),
            }
        }
    }
}

/// Where the steps of a pipeline are written.
fn list(name: &str, options: &PipelineOptions) -> String {
    if options.is_list() { format!("pipelines.{name}") } else { format!("pipelines.{name}.steps") }
}
