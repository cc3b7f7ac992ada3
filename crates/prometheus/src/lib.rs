//! The policies of `tidegate-resilience` as Prometheus and OpenMetrics.
//!
//! A crate of its own, so that the library needs no metrics vendor. [`Policies`] is a collector for `prometheus-client`:
//! at every scrape it reads the statistics of all policies of a [`Registry`], and of those that were added by hand.
//! Nothing is counted twice and a call costs nothing more: what is shown is what the policies count anyway. [`CATALOGUE`]
//! lists all metrics, for documents and checks of dashboards.
//!
//! ```
//! use prometheus_client::registry::Registry as Metrics;
//! use tidegate_prometheus::Policies;
//! use tidegate_resilience::{Bulkhead, BulkheadOptions, Guard};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bulkhead = Bulkhead::new("search", &BulkheadOptions::default())?;
//! let mut metrics = Metrics::default();
//! metrics.register_collector(Box::new(Policies::default().and(&bulkhead)));
//!
//! bulkhead.try_acquire()?.success();
//! let mut text = String::new();
//! prometheus_client::encoding::text::encode(&mut text, &metrics)?;
//! assert!(text.contains(r#"tidegate_bulkhead_calls_total{policy="search",result="admitted"} 1"#));
//! # Ok(())
//! # }
//! ```

mod catalogue;

use std::fmt::{Error, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tidegate_resilience::{PolicyStats, Registry, Step};

use catalogue::POLICY;
pub use catalogue::{CATALOGUE, Kind, Metric};

/// Shows policies at every scrape.
#[derive(Debug, Default)]
pub struct Policies {
    registry: Option<Registry>,
    steps: Vec<Step>,
}

impl Policies {
    /// All policies that are in this registry at the time of a scrape.
    pub fn of(registry: &Registry) -> Self {
        Self { registry: Some(registry.clone()), steps: Vec::new() }
    }

    /// The same, and this policy.
    #[must_use]
    pub fn and(mut self, policy: impl Into<Step>) -> Self {
        self.steps.push(policy.into());
        self
    }

    /// The statistics of every policy with its name.
    fn stats(&self) -> Vec<(String, PolicyStats)> {
        let mut all = Vec::new();
        let mut add = |name: &str, step: &Step| all.extend(PolicyStats::of(step).map(|stats| (name.to_owned(), stats)));
        if let Some(registry) = &self.registry {
            registry.for_each_policy(|name, step| add(name, step));
        }
        self.steps.iter().for_each(|step| add(step.name(), step));
        all
    }
}

impl Collector for Policies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let all = self.stats();
        for metric in CATALOGUE {
            let samples: Vec<_> = all
                .iter()
                .flat_map(|(name, stats)| {
                    metric.samples(stats).into_iter().map(move |(case, value)| (name, case, value))
                })
                .collect();
            if samples.is_empty() {
                continue;
            }
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for (policy, case, value) in samples {
                let labels = Labels { policy, case: metric.label.zip(case) };
                let mut sample = family.encode_family(&labels)?;
                match metric.kind {
                    Kind::Counter => sample.encode_counter::<NoLabelSet, f64, u64>(&value, None)?,
                    Kind::Gauge => sample.encode_gauge(&value)?,
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Labels<'a> {
    policy: &'a str,
    case: Option<(&'static str, &'static str)>,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        let mut add = |name: &str, value: &str| {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut text = key.encode_label_value()?;
            text.write_str(value)?;
            text.finish()
        };
        add(POLICY, self.policy)?;
        self.case.map_or(Ok(()), |(name, value)| add(name, value))
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry as Metrics;
    use tidegate_resilience::{
        Adaptive, AdaptiveOptions, Bulkhead, BulkheadOptions, Chaos, ChaosOptions, CircuitBreaker,
        CircuitBreakerOptions, Guard, Hedge, HedgeOptions, KeyedRateLimiter, RateLimitOptions, RateLimiter, Retry,
        RetryOptions, Timeout, TimeoutOptions,
    };

    use super::*;

    fn rendered(policies: Policies) -> String {
        let mut metrics = Metrics::default();
        metrics.register_collector(Box::new(policies));
        let mut text = String::new();
        encode(&mut text, &metrics).expect("writing to a string");
        text
    }

    #[test]
    fn figures_are_those_of_the_policies() {
        let breaker = CircuitBreaker::new("db", &CircuitBreakerOptions::default()).expect("valid");
        (0..5).for_each(|_| breaker.try_acquire().expect("closed").failure());
        assert!(breaker.try_acquire().is_err());
        let text = rendered(Policies::default().and(&breaker));
        for sample in [
            r#"tidegate_circuit_breaker_state{policy="db",state="open"} 1.0"#,
            r#"tidegate_circuit_breaker_state{policy="db",state="closed"} 0.0"#,
            r#"tidegate_circuit_breaker_calls_total{policy="db",result="failed"} 5.0"#,
            r#"tidegate_circuit_breaker_calls_total{policy="db",result="rejected"} 1.0"#,
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
        }
    }

    #[test]
    fn a_budget_is_shown_where_there_is_a_limit() {
        let limited = Retry::new("limited", &RetryOptions::default()).expect("valid");
        let free = Retry::new("free", &RetryOptions { budget: None, ..RetryOptions::default() }).expect("valid");
        let text = rendered(Policies::default().and(limited).and(free));
        assert!(text.contains(r#"tidegate_retry_budget_available{policy="limited"} 30.0"#), "{text}");
        assert!(!text.contains(r#"tidegate_retry_budget_available{policy="free"}"#), "{text}");
    }

    #[test]
    fn every_policy_is_shown_and_every_metric_has_samples() {
        let limit = RateLimitOptions::per_second(10);
        let all = Policies::default()
            .and(CircuitBreaker::new("a", &CircuitBreakerOptions::default()).expect("valid"))
            .and(RateLimiter::new("b", &limit).expect("valid"))
            .and(KeyedRateLimiter::new("c", &limit).expect("valid"))
            .and(Bulkhead::new("d", &BulkheadOptions::default()).expect("valid"))
            .and(Adaptive::new("e", &AdaptiveOptions::default()).expect("valid"))
            .and(Retry::new("f", &RetryOptions::default()).expect("valid"))
            .and(Timeout::new("g", &TimeoutOptions::default()).expect("valid"))
            .and(Hedge::new("h", &HedgeOptions::default()).expect("valid"))
            .and(Chaos::new("i", &ChaosOptions::default()).expect("valid"));
        let text = rendered(all);
        for metric in CATALOGUE {
            assert!(text.contains(&format!("\n{}", metric.name)), "{} in\n{text}", metric.name);
        }
        for policy in 'a'..='i' {
            assert!(text.contains(&format!("policy=\"{policy}\"")), "{policy} in\n{text}");
        }
    }
}
