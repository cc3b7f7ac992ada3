//! What is written: named policies, and pipelines made of them.
//!
//! These are plain values, right or wrong. What they may say is checked by [`Registry::plan`](crate::Registry::plan),
//! which finds everything that is wrong at once.

use std::collections::BTreeMap;

pub use super::kinds::PolicyOptions;

/// Everything that a [`Registry`](crate::Registry) is made of.
///
/// ```yaml
/// policies:
///   payments-db: { circuit_breaker: { consecutive_failures: 3 } }
///   per-tenant: { keyed_rate_limit: { token_bucket: { rate: 100 } } }
/// pipelines:
///   checkout:
///     - use: per-tenant
///     - timeout: { total: 2s, attempt: 500ms }
///     - retry: { attempts: 3 }
///     - use: payments-db
///   search:
///     per_key: { max_keys: 10000 }
///     steps:
///       - circuit_breaker: {}
///       - bulkhead: { max_concurrent: 10 }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document {
    /// Policies by name: 1 to 128 characters without `/`. Whatever uses a name shares the one policy.
    pub policies: BTreeMap<String, PolicyOptions>,
    /// Pipelines by name: 1 to 256 characters.
    pub pipelines: BTreeMap<String, PipelineOptions>,
}

/// A pipeline: policies in their order, outermost first. Written as a list of steps, or as a map where there is more
/// to say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PipelineOptions {
    /// The policies, outermost first.
    pub steps: Vec<StepOptions>,
    /// Whether each key has policies of its own. Those in [`StepOptions::Use`] are shared between the keys all the
    /// same, and so are timeouts and chaos, which know nothing of earlier calls. Default: no.
    pub per_key: Option<PerKeyOptions>,
    /// Whether the calls do no more when run twice than when run once, so that a hedge makes sense. Each call has to
    /// say so too. Default `false`.
    pub idempotent: bool,
}

/// How many keys have policies of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PerKeyOptions {
    /// How many keys there may be at a time: 1 to 1,000,000. Default 10,000. A new key takes the place of one whose
    /// policies are at rest; where none is found, calls of new keys are rejected.
    pub max_keys: u32,
}

impl Default for PerKeyOptions {
    fn default() -> Self {
        Self { max_keys: 10_000 }
    }
}

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "super::kinds::WrittenStep", into = "super::kinds::WrittenStep"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepOptions {
    /// The policy of this name: one under [`Document::policies`], or one of another pipeline (`checkout/retry`), which
    /// is then one and the same for both.
    Use(String),
    /// A policy of this pipeline alone. It is called `pipeline/kind`: `checkout/retry`; a second one of the same kind
    /// `checkout/retry-2`.
    Policy(PolicyOptions),
}

impl From<PolicyOptions> for StepOptions {
    fn from(options: PolicyOptions) -> Self {
        Self::Policy(options)
    }
}

impl<S: Into<StepOptions>> FromIterator<S> for PipelineOptions {
    fn from_iter<I: IntoIterator<Item = S>>(steps: I) -> Self {
        Self { steps: steps.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl Document {
    /// What the policy that is the `count`th of its kind in a pipeline, from 1, and belongs to it alone is called.
    pub fn own_name(pipeline: &str, kind: &str, count: u32) -> String {
        match count {
            1 => format!("{pipeline}/{kind}"),
            count => format!("{pipeline}/{kind}-{count}"),
        }
    }

    /// The options of the policy of this name: one under [`policies`](Self::policies), or one of a pipeline alone.
    pub fn policy(&self, name: &str) -> Option<&PolicyOptions> {
        self.policies.get(name).or_else(|| {
            let (pipeline, _) = name.rsplit_once('/')?;
            let options = self.pipelines.get(pipeline)?;
            let mut own = options.policy_names(pipeline).into_iter().zip(&options.steps);
            own.find_map(|(own, step)| match step {
                StepOptions::Policy(options) if own == name => Some(options),
                _ => None,
            })
        })
    }

    /// The options of the policy that a step is or uses.
    pub fn policy_of<'d>(&'d self, step: &'d StepOptions) -> Option<&'d PolicyOptions> {
        match step {
            StepOptions::Policy(options) => Some(options),
            StepOptions::Use(name) => self.policy(name),
        }
    }
}

impl PipelineOptions {
    /// What the policies of all steps are called where the pipeline is called `pipeline`: whoever uses these names shares
    /// its policies.
    pub fn policy_names(&self, pipeline: &str) -> Vec<String> {
        let mut kinds = BTreeMap::<&str, u32>::new();
        let names = self.steps.iter().map(|step| match step {
            StepOptions::Use(name) => name.clone(),
            StepOptions::Policy(options) => {
                let count = kinds.entry(options.kind()).or_default();
                *count += 1;
                Document::own_name(pipeline, options.kind(), *count)
            }
        });
        names.collect()
    }

    /// Whether a list of steps says it all.
    pub(super) fn is_list(&self) -> bool {
        self.per_key.is_none() && !self.idempotent
    }
}

#[cfg(feature = "serde")]
mod with_serde {
    use std::fmt;

    use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
    use serde::de::{MapAccess, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{PerKeyOptions, PipelineOptions, StepOptions};

    /// A pipeline with more to say than its steps.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub(super) struct Pipeline {
        /// Whether each key has policies of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        per_key: Option<PerKeyOptions>,
        /// Whether the calls do no more when run twice than when run once. Default `false`.
        #[serde(default)]
        idempotent: bool,
        /// The policies, outermost first.
        steps: Vec<StepOptions>,
    }

    impl Serialize for PipelineOptions {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self { steps, per_key, idempotent } = self.clone();
            if self.is_list() {
                steps.serialize(serializer)
            } else {
                Pipeline { per_key, idempotent, steps }.serialize(serializer)
            }
        }
    }

    impl<'de> Deserialize<'de> for PipelineOptions {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct ListOrMap;
            impl<'de> Visitor<'de> for ListOrMap {
                type Value = PipelineOptions;

                fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str("a list of steps, or a map with `steps`")
                }

                fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<PipelineOptions, A::Error> {
                    let steps = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                    Ok(PipelineOptions { steps, ..PipelineOptions::default() })
                }

                fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PipelineOptions, A::Error> {
                    let Pipeline { per_key, idempotent, steps } =
                        Pipeline::deserialize(MapAccessDeserializer::new(map))?;
                    Ok(PipelineOptions { steps, per_key, idempotent })
                }
            }
            deserializer.deserialize_any(ListOrMap)
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for PipelineOptions {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PipelineOptions".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let list = generator.subschema_for::<Vec<StepOptions>>();
        let map = generator.subschema_for::<with_serde::Pipeline>();
        schemars::json_schema!({ "anyOf": [list, map] })
    }
}
