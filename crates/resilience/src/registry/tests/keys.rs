use super::*;
use crate::error::Code;
use crate::event::CircuitState;

fn search(max_keys: u32, most: u32) -> Document {
    document(
        [("all", bulkhead(50))],
        [(
            "search",
            PipelineOptions {
                steps: vec![used("all"), timeout(SECOND).into(), breaker(2).into(), bulkhead(most).into()],
                ..per_key(max_keys, [])
            },
        )],
    )
}

fn own_breaker(pipeline: &Pipeline) -> crate::circuit_breaker::CircuitBreaker {
    let found = pipeline.steps().iter().find_map(|step| match step {
        Step::CircuitBreaker(breaker) => Some(breaker.clone()),
        _ => None,
    });
    found.unwrap()
}

fn own_bulkhead(pipeline: &Pipeline) -> crate::bulkhead::Bulkhead {
    let Some(Step::Bulkhead(bulkhead)) = pipeline.steps().last() else { panic!("{pipeline:?}") };
    bulkhead.clone()
}

#[test]
fn every_key_has_policies_of_its_own_and_shares_those_that_are_named() {
    let registry = registry(&search(10, 1));
    let (ann, bob) = (registry.pipeline_for("search", "ann").unwrap(), registry.pipeline_for("search", "bob").unwrap());
    assert_eq!(
        order(&ann),
        [
            "bulkhead(all)",
            "timeout(search/timeout)",
            "circuit_breaker(search/circuit_breaker[ann])",
            "bulkhead(search/bulkhead[ann])"
        ]
    );
    let full = own_bulkhead(&ann);
    let permit = full.try_acquire().unwrap();
    assert!(own_bulkhead(&registry.pipeline_for("search", "ann").unwrap()).try_acquire().is_err());
    assert!(own_bulkhead(&bob).try_acquire().is_ok());
    drop(permit);
    assert!(registry.pipeline("search").is_none(), "there is none without a key");
    assert_eq!(registry.pipeline_for("none", "ann").unwrap_err().code(), Code::UnknownPolicy);
    assert_eq!(registry.names().0, ["all", "search/timeout"].map(Name::from), "and none of the keys");
    let mut keys = Vec::new();
    registry.view().for_each_key("search", |key, pipeline| keys.push(format!("{key} {}", pipeline.name())));
    keys.sort();
    assert_eq!(keys, ["ann search[ann]", "bob search[bob]"]);
}

#[test]
fn a_pipeline_for_all_has_no_use_for_a_key() {
    let registry = registry(&document([], [("p", PipelineOptions::from_iter([bulkhead(1)]))]));
    let ann = registry.pipeline_for("p", "ann").unwrap();
    let _permit = own_bulkhead(&ann).try_acquire().map(crate::policy::Permit::into_ticket).unwrap();
    assert!(own_bulkhead(&registry.pipeline_for("p", "bob").unwrap()).try_acquire().is_err());
}

#[test]
fn there_are_never_more_keys_than_may_be_and_those_at_rest_give_way() {
    let registry = registry(&search(3, 1));
    for key in 0..1000 {
        registry.pipeline_for("search", &key.to_string()).unwrap();
        assert!(registry.stats().keys[0].keys <= 3);
    }
    let stats = &registry.stats().keys[0];
    assert_eq!((stats.keys, stats.evicted, stats.rejected), (3, 997, 0));
}

#[test]
fn a_key_that_is_held_or_at_work_stays() {
    let registry = registry(&search(3, 1));
    let held = registry.pipeline_for("search", "held").unwrap();
    let working = own_bulkhead(&registry.pipeline_for("search", "working").unwrap());
    let permit = working.try_acquire().unwrap();
    own_breaker(&registry.pipeline_for("search", "forced").unwrap()).force_open();
    let rejection = registry.pipeline_for("search", "new").unwrap_err();
    assert_eq!((rejection.code(), &**rejection.policy()), (Code::TooManyKeys, "search"));
    assert_eq!(registry.stats().keys[0].rejected, 1);
    for key in ["held", "working", "forced"] {
        assert!(registry.pipeline_for("search", key).is_ok(), "known keys are not concerned");
    }
    permit.success();
    assert!(registry.pipeline_for("search", "new").is_ok(), "in the place of the one that has done its work");
    assert_eq!(own_breaker(&registry.pipeline_for("search", "forced").unwrap()).state(), CircuitState::ForcedOpen);
    drop(held);
}

#[test]
fn a_breaker_that_has_seen_failures_is_forgotten_only_when_time_has_healed_it() {
    let (clock, environment) = environment();
    let registry = Registry::new(&search(1, 1), &environment).unwrap();
    for failures in 1..=2 {
        let breaker = own_breaker(&registry.pipeline_for("search", "ann").unwrap());
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state() == CircuitState::Open, failures == 2);
        assert!(registry.pipeline_for("search", "bob").is_err());
    }
    // Open for 60 s, and then half open for as long.
    clock.advance(119 * SECOND);
    assert!(registry.pipeline_for("search", "bob").is_err());
    clock.advance(SECOND);
    assert!(registry.pipeline_for("search", "bob").is_ok());
}

#[test]
fn nobody_gains_an_allowance_by_making_up_keys() {
    let (clock, environment) = environment();
    let limited = document([], [("p", per_key(1, [rate_limit(1), retry(2)]))]);
    let registry = Registry::new(&limited, &environment).unwrap();
    let limiter = |key| match &registry.pipeline_for("p", key).ok()?.steps()[0] {
        Step::RateLimit(limiter) => Some(limiter.clone()),
        other => panic!("{other:?}"),
    };
    limiter("ann").unwrap().try_acquire().unwrap().success();
    assert!(limiter("bob").is_none(), "ann has used her quota, and is not forgotten");
    assert!(limiter("ann").unwrap().try_acquire().is_err());
    clock.advance(60 * SECOND);
    assert!(limiter("bob").unwrap().try_acquire().is_ok());
}

#[test]
fn a_retry_that_has_used_its_budget_stays_for_as_long_as_that_counts() {
    let (clock, environment) = environment();
    let registry =
        Registry::new(&document([], [("p", per_key(1, [timeout(SECOND), retry(2)]))]), &environment).unwrap();
    let ann = registry.pipeline_for("p", "ann").unwrap();
    let Step::Retry(retry) = &ann.steps()[1] else { panic!("{ann:?}") };
    assert!(retry.budget().try_withdraw(environment.clock.now()));
    drop(ann);
    assert!(registry.pipeline_for("p", "bob").is_err());
    clock.advance(15 * SECOND);
    assert!(registry.pipeline_for("p", "bob").is_ok());
}

#[test]
fn a_new_document_changes_the_policies_of_every_key_and_keeps_their_state() {
    let registry = registry(&search(10, 1));
    let places = own_bulkhead(&registry.pipeline_for("search", "ann").unwrap());
    let _permit = places.try_acquire().unwrap();
    let plan = registry.apply(&search(10, 2)).unwrap();
    assert_eq!(plan.policy("search/bulkhead"), Some(Change::Changed { keeps_state: true }));
    assert_eq!(places.options().max_concurrent, 2, "by the handle that is held");
    let now = own_bulkhead(&registry.pipeline_for("search", "ann").unwrap());
    assert_eq!((now.stats().active, now.stats().max_concurrent), (1, 2));
    assert_eq!(own_bulkhead(&registry.pipeline_for("search", "bob").unwrap()).stats().max_concurrent, 2);
}

#[test]
fn a_document_that_does_not_concern_a_pipeline_leaves_it_alone() {
    let registry = registry(&search(1, 1));
    let _held = registry.pipeline_for("search", "ann").unwrap();
    let mut other = search(1, 1);
    other.policies.insert("new".to_owned(), breaker(5));
    registry.apply(&other).unwrap();
    assert_eq!(registry.pipeline_for("search", "bob").unwrap_err().code(), Code::TooManyKeys, "ann is still held");
    // A policy that it shares has become another one.
    other.policies.insert("all".to_owned(), rate_limit(7));
    registry.apply(&other).unwrap();
    assert_eq!(order(&registry.pipeline_for("search", "ann").unwrap())[0], "rate_limit(all)");
}

#[test]
fn a_step_that_comes_or_goes_leaves_the_others_of_each_key_alone() {
    let registry = registry(&document([], [("p", per_key(5, [bulkhead(1)]))]));
    let places = own_bulkhead(&registry.pipeline_for("p", "ann").unwrap());
    let _permit = places.try_acquire().unwrap();
    let plan = registry.apply(&document([], [("p", per_key(5, [rate_limit(1), bulkhead(1)]))])).unwrap();
    assert!(matches!(plan.pipeline("p"), Some(OrderChange::Reordered { .. })));
    let ann = registry.pipeline_for("p", "ann").unwrap();
    assert_eq!(order(&ann), ["rate_limit(p/rate_limit[ann])", "bulkhead(p/bulkhead[ann])"]);
    assert!(own_bulkhead(&ann).try_acquire().is_err());
}

#[test]
fn policies_for_each_key_and_one_for_all_are_not_the_same() {
    let registry = registry(&document([], [("p", PipelineOptions::from_iter([bulkhead(1)]))]));
    let plan = registry.apply(&document([], [("p", per_key(5, [bulkhead(1)]))])).unwrap();
    assert_eq!(plan.policy("p/bulkhead"), Some(Change::Changed { keeps_state: false }));
    assert_eq!(plan.pipeline("p"), Some(&OrderChange::Changed));
    assert!(registry.bulkhead("p/bulkhead").is_none() && registry.pipeline_for("p", "ann").is_ok());
}

#[test]
fn fewer_keys_than_there_are_make_those_at_rest_go_as_new_ones_come() {
    let registry = registry(&search(8, 1));
    (0..8).for_each(|key| drop(registry.pipeline_for("search", &key.to_string()).unwrap()));
    registry.apply(&search(2, 1)).unwrap();
    assert_eq!(registry.stats().keys[0].keys, 8);
    registry.pipeline_for("search", "new").unwrap();
    assert_eq!(registry.stats().keys[0].keys, 2);
}

#[test]
fn many_threads_and_more_keys_than_places_keep_the_bound() {
    let registry = registry(&search(300, 1));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let registry = &registry;
            scope.spawn(move || {
                for key in 0..500 {
                    // Half of the keys are the same on all threads.
                    let key = if key % 2 == 0 { format!("{key}") } else { format!("{thread}/{key}") };
                    _ = registry.pipeline_for("search", &key);
                    assert!(registry.stats().keys[0].keys <= 300);
                }
            });
        }
    });
    let mut count = 0;
    registry.view().for_each_key("search", |_, _| count += 1);
    assert_eq!(registry.stats().keys[0].keys, count);
}
