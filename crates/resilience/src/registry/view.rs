//! What a registry holds at one moment: policies and pipelines by name. A view never changes.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::error::{Code, Rejection};
use crate::name::Name;
use crate::pipeline::{Pipeline, placed};
use crate::policies::Step;
use crate::policy::Environment;

use super::blueprint::{Blueprint, Course};
use super::document::Document;
use super::keyed::{KeyStats, KeyedPipelines, Slot, Template};
use super::kinds::PolicyOptions;

/// The policies and pipelines that were in force when it was taken from a [`Registry`](crate::Registry).
///
/// A look-up in a held view is a look-up in a map and nothing else. Policies found here follow further documents;
/// which there are, and the order of pipelines, is that of this view.
#[derive(Debug, Default)]
pub struct View {
    document: Document,
    blueprint: Blueprint,
    policies: HashMap<Name, Step, RandomState>,
    pipelines: HashMap<Name, Built, RandomState>,
}

#[derive(Debug, Clone)]
enum Built {
    Shared(Pipeline),
    PerKey(Arc<KeyedPipelines>),
}

impl View {
    /// The document that it was built from.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The policy of this name: one that is named in the document, or one of a single pipeline, `pipeline/kind`.
    #[inline]
    pub fn policy(&self, name: &str) -> Option<&Step> {
        self.policies.get(name)
    }

    /// The pipeline of this name; nothing where each key has its own.
    #[inline]
    pub fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        match self.pipelines.get(name) {
            Some(Built::Shared(pipeline)) => Some(pipeline),
            _ => None,
        }
    }

    /// The pipeline of this name for this key, which has no effect where all keys have the same.
    ///
    /// # Errors
    ///
    /// `UnknownPolicy`, and `TooManyKeys` for a new key where the policies of all keys that were looked at are at work.
    pub fn pipeline_for(&self, name: &str, key: &str) -> Result<Pipeline, Rejection> {
        match self.pipelines.get(name) {
            Some(Built::Shared(pipeline)) => Ok(pipeline.clone()),
            Some(Built::PerKey(keyed)) => keyed.pipeline(key),
            None => Err(unknown(name)),
        }
    }

    /// The pipeline for a call with or without a key.
    pub(crate) fn pipeline_of(&self, name: &str, key: Option<&str>) -> Result<Pipeline, Rejection> {
        match (self.pipelines.get(name), key) {
            (Some(Built::PerKey(_)), None) => Err(Rejection::new(Code::KeyMissing, &Name::from(name))),
            (_, key) => self.pipeline_for(name, key.unwrap_or_default()),
        }
    }

    /// Calls `visit` for every policy, in the order of their names. Those of single keys are left out:
    /// [`View::for_each_key`].
    pub fn for_each_policy(&self, mut visit: impl FnMut(&Name, &Step)) {
        for name in self.blueprint.policies.keys() {
            if let Some(step) = self.policies.get(name) {
                visit(name, step);
            }
        }
    }

    /// Calls `visit` for every key of this pipeline, in no order. New keys wait until it is done.
    pub fn for_each_key(&self, pipeline: &str, mut visit: impl FnMut(&str, &Pipeline)) {
        if let Some(Built::PerKey(keyed)) = self.pipelines.get(pipeline) {
            keyed.for_each(&mut visit);
        }
    }

    /// The names of all policies, in their order.
    pub fn policy_names(&self) -> impl Iterator<Item = &Name> {
        self.blueprint.policies.keys().filter(|name| self.policies.contains_key(*name))
    }

    /// The names of all pipelines, in their order.
    pub fn pipeline_names(&self) -> impl Iterator<Item = &Name> {
        self.blueprint.pipelines.keys()
    }

    /// The keys of every pipeline that has policies for each.
    pub fn key_stats(&self) -> Vec<KeyStats> {
        let keyed = self.pipeline_names().filter_map(|name| match self.pipelines.get(name) {
            Some(Built::PerKey(keyed)) => Some(keyed.stats()),
            _ => None,
        });
        keyed.collect()
    }

    pub(super) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// The view that comes after this one. Policies of the same name and kind go over and have the new options.
    pub(super) fn followed_by(&self, document: Document, blueprint: Blueprint, environment: &Environment) -> Self {
        let shared = blueprint.policies.iter().filter(|(_, part)| !part.for_each_key);
        let policies = shared.map(|(name, part)| {
            let kept = self.policies.get(name).filter(|step| part.options.follow(step)).cloned();
            (name.clone(), kept.unwrap_or_else(|| part.options.make(name.clone(), environment)))
        });
        let policies = policies.collect();
        let pipelines = blueprint.pipelines.iter().map(|(name, course)| {
            let kept = self.pipelines.get(name).filter(|_| self.blueprint.is_same(name, &blueprint)).cloned();
            let build = || self.build(name, course, slots(course, &blueprint, &policies), environment);
            (name.clone(), kept.unwrap_or_else(build))
        });
        Self { pipelines: pipelines.collect(), policies, document, blueprint }
    }

    fn build(&self, name: &Name, course: &Course, slots: Vec<Slot>, environment: &Environment) -> Built {
        let Some(per_key) = course.per_key else {
            let steps = slots.into_iter().filter_map(|slot| match slot {
                Slot::Shared(step) => Some(step),
                Slot::Own(..) => None,
            });
            return Built::Shared(assemble(name.clone(), steps.collect(), environment));
        };
        let template = Template { max_keys: per_key.max_keys, slots };
        Built::PerKey(match self.pipelines.get(name) {
            Some(Built::PerKey(keyed)) => {
                keyed.change(template);
                Arc::clone(keyed)
            }
            _ => Arc::new(KeyedPipelines::new(name.clone(), template, environment)),
        })
    }
}

/// The steps of a pipeline: policies that there are, and the options of those that each key will have.
fn slots(course: &Course, blueprint: &Blueprint, policies: &HashMap<Name, Step, RandomState>) -> Vec<Slot> {
    let slot = |name: &Name| match policies.get(name) {
        Some(step) => Some(Slot::Shared(step.clone())),
        None => blueprint.policies.get(name).map(|part| Slot::Own(name.clone(), part.options.clone())),
    };
    course.steps.iter().filter_map(slot).collect()
}

/// A pipeline of steps that are known to go together.
pub(super) fn assemble(name: Name, steps: Vec<Step>, environment: &Environment) -> Pipeline {
    Pipeline::new(name, placed(steps), environment)
}

impl PolicyOptions {
    /// Puts these options in force, if they are not and the policy is of their kind. The answer is whether it is.
    pub(super) fn follow(&self, step: &Step) -> bool {
        Self::of(step).as_ref() == Some(self)
            || self.put_in_force(step).expect("a blueprint has only options that a policy was built with")
    }

    /// A new policy with options that were checked.
    pub(super) fn make(&self, name: Name, environment: &Environment) -> Step {
        self.build(name, environment).expect("a blueprint has only options that a policy was built with")
    }
}

pub(crate) fn unknown(name: &str) -> Rejection {
    Rejection::new(Code::UnknownPolicy, &Name::from(name))
}
