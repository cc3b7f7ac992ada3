//! What acts at a route or listener: a policy around requests, or a limit in front of them. Both are policies by name to
//! the gateway, and keep or lose what they have counted alike.

use serde_json::Value;
use tidegate_gateway::config::document::{Filter, RateLimit};
use tidegate_gateway::config::plan::{self, Applied};
use tidegate_resilience::PolicyOptions;

use super::policy_options::Options;
use crate::policies;

/// What limits in front of requests are called, with a key and without.
pub(super) const LIMIT: &str = "limit";

/// Options of a limit that each place has for itself, whatever its name.
const OWN: [&str; 2] = ["cost", "headers"];

/// A policy or limit at one place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Acting<'p> {
    pub(super) kind: &'static str,
    pub(super) name: String,
    written: Written<'p>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Written<'p> {
    Policy(&'p PolicyOptions),
    Limit(&'p RateLimit),
}

impl<'p> From<Applied<'p>> for Acting<'p> {
    fn from(policy: Applied<'p>) -> Self {
        Self { kind: policy.options.kind(), name: policy.name, written: Written::Policy(policy.options) }
    }
}

/// The limits of a route or listener: as they are written, with the names that the plan gives them.
pub(super) fn limits<'p>(filters: &'p [Filter], planned: &[plan::RateLimit]) -> Vec<Acting<'p>> {
    let limits = filters.iter().filter_map(Filter::rate_limit).zip(planned).map(|(written, planned)| Acting {
        kind: LIMIT,
        name: planned.policy.to_string(),
        written: Written::Limit(written),
    });
    limits.collect()
}

impl Acting<'_> {
    /// The options of all that have this name, with every default.
    pub(super) fn options(&self) -> Options {
        match self.written {
            Written::Policy(options) => policies::written(options),
            Written::Limit(limit) => {
                let mut options = of_limit(limit);
                options.retain(|option, _| option != "name" && !OWN.contains(&option.as_str()));
                // As one says it, and nothing where it is one limit for all.
                match limit.by.is_empty() {
                    true => options.shift_remove("by"),
                    false => options.insert("by".to_owned(), Value::from(limit.by.join(" and "))),
                };
                options
            }
        }
    }

    /// The options that it has here alone.
    pub(super) fn own_options(&self) -> Options {
        match self.written {
            Written::Policy(_) => Options::new(),
            Written::Limit(limit) => {
                let mut options = of_limit(limit);
                options.retain(|option, _| OWN.contains(&option.as_str()));
                options
            }
        }
    }
}

fn of_limit(limit: &RateLimit) -> Options {
    let written = serde_json::to_value(limit).unwrap_or_default();
    written.as_object().cloned().unwrap_or_default()
}
