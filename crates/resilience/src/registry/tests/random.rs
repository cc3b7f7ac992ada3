//! Any sequence of documents, good and bad, against a model that keeps one count for each policy.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::circuit_breaker::{BreakerWindow, CircuitBreaker};

/// A breaker that never opens, so that it only counts.
fn counting(window: u32, probes: u32) -> PolicyOptions {
    PolicyOptions::CircuitBreaker(CircuitBreakerOptions {
        consecutive_failures: None,
        failure_rate: None,
        window: BreakerWindow::Calls(window),
        min_calls: 1,
        probes,
        ..Default::default()
    })
}

/// Some of them invalid.
fn policy() -> impl Strategy<Value = PolicyOptions> {
    prop_oneof![
        6 => (1..3u32, 1..4u32).prop_map(|(window, probes)| counting(1000 * window, probes)),
        3 => (1..4u32).prop_map(bulkhead),
        1 => (0..2u32).prop_map(bulkhead),
    ]
}

fn any_document() -> impl Strategy<Value = Document> {
    let name = |names: &'static [&'static str]| proptest::sample::select(names).prop_map(str::to_owned);
    let step = prop_oneof![
        3 => name(&["a", "b", "c"]).prop_map(StepOptions::Use),
        2 => policy().prop_map(StepOptions::Policy),
    ];
    let pipeline = (proptest::collection::vec(step, 0..3), any::<bool>())
        .prop_map(|(steps, idempotent)| PipelineOptions { steps, per_key: None, idempotent });
    let policies = proptest::collection::btree_map(name(&["a", "b", "c"]), policy(), 0..4);
    let pipelines = proptest::collection::btree_map(name(&["p", "q"]), pipeline, 0..3);
    (policies, pipelines).prop_map(|(policies, pipelines)| Document { policies, pipelines })
}

/// The breakers of a registry by their names.
fn breakers(registry: &Registry) -> BTreeMap<String, CircuitBreaker> {
    let mut breakers = BTreeMap::new();
    registry.for_each_policy(|name, step| {
        if let Step::CircuitBreaker(breaker) = step {
            breakers.insert(name.to_string(), breaker.clone());
        }
    });
    breakers
}

proptest! {
    #[test]
    fn the_last_good_document_is_in_force_and_state_is_where_the_plan_says(
        documents in proptest::collection::vec(any_document(), 1..12),
    ) {
        let registry = registry(&Document::default());
        let mut good = Document::default();
        let mut counts = BTreeMap::<String, u64>::new();
        for document in documents {
            let before = breakers(&registry);
            let applied = registry.apply(&document);
            // Whether the policy is the one from before, whatever it has kept.
            let stays = |name: &str| match applied.as_ref().map(|plan| plan.policy(name)) {
                Ok(change) => matches!(change, Some(Change::Unchanged | Change::Changed { .. })),
                Err(_) => true,
            };
            match &applied {
                Ok(plan) => {
                    good = document;
                    let keeps = |name: &str| plan.policy(name).is_some_and(Change::keeps_state);
                    let count = |name: String| (name.clone(), if keeps(&name) { counts[&name] } else { 0 });
                    counts = breakers(&registry).into_keys().map(count).collect();
                }
                Err(problems) => prop_assert!(!problems.0.is_empty()),
            }
            prop_assert_eq!(registry.document(), good.clone());
            let now = breakers(&registry);
            prop_assert_eq!(now.keys().collect::<Vec<_>>(), counts.keys().collect::<Vec<_>>());
            for (name, breaker) in &now {
                prop_assert_eq!(breaker.stats().window_calls, counts[name], "{}", name);
            }
            in_force(&registry, &good)?;
            // Handles from before go on, and are those of now where the policy stays.
            for (name, breaker) in before {
                breaker.try_acquire().expect("it never opens").failure();
                if stays(&name) {
                    counts.entry(name).and_modify(|count| *count += 1);
                }
            }
            for (name, breaker) in &now {
                breaker.try_acquire().expect("it never opens").failure();
                counts.entry(name.clone()).and_modify(|count| *count += 1);
            }
        }
    }
}

/// Everything that the document says is there, as it says, and nothing else is.
fn in_force(registry: &Registry, document: &Document) -> Result<(), TestCaseError> {
    let mut expected = document.policies.clone();
    for (name, pipeline) in &document.pipelines {
        let mut order = Vec::new();
        let mut kinds = BTreeMap::<&str, u32>::new();
        for step in &pipeline.steps {
            let step = match step {
                StepOptions::Use(used) => used.clone(),
                StepOptions::Policy(options) => {
                    let count = kinds.entry(options.kind()).and_modify(|count| *count += 1).or_insert(1);
                    let suffix = if *count == 1 { String::new() } else { format!("-{count}") };
                    let own = format!("{name}/{}{suffix}", options.kind());
                    expected.insert(own.clone(), options.clone());
                    own
                }
            };
            order.push(step);
        }
        let built = registry.pipeline(name).expect("it is in the document");
        let built: Vec<_> = built.steps().iter().map(|step| step.name().to_string()).collect();
        prop_assert_eq!(built, order);
    }
    let mut found = BTreeMap::new();
    registry.for_each_policy(|name, step| _ = found.insert(name.to_string(), PolicyOptions::of(step).unwrap()));
    prop_assert_eq!(found, expected);
    let (_, pipelines) = registry.names();
    prop_assert!(pipelines.iter().map(|name| &**name).eq(document.pipelines.keys().map(String::as_str)));
    Ok(())
}
