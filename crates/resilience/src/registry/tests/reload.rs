use std::sync::Barrier;
use std::thread;

use super::*;
use crate::circuit_breaker::BreakerWindow;
use crate::event::CircuitState;

fn windowed(calls: u32) -> PolicyOptions {
    PolicyOptions::CircuitBreaker(CircuitBreakerOptions {
        window: BreakerWindow::Calls(calls),
        min_calls: 10,
        ..Default::default()
    })
}

#[test]
fn a_policy_of_the_same_name_and_kind_stays_with_its_state_and_its_handles() {
    let registry = registry(&document([("db", breaker(2)), ("api", rate_limit(2))], []));
    let (db, api) = (registry.circuit_breaker("db").unwrap(), registry.rate_limiter("api").unwrap());
    db.try_acquire().unwrap().failure();
    api.try_acquire().unwrap().success();
    let plan = registry.apply(&document([("db", breaker(3)), ("api", rate_limit(3))], [])).unwrap();
    assert_eq!(plan.policy("db"), Some(Change::Changed { keeps_state: true }));
    assert_eq!(db.options().consecutive_failures, Some(3));
    db.try_acquire().unwrap().failure();
    assert_eq!(db.state(), CircuitState::Closed, "two of three");
    registry.circuit_breaker("db").unwrap().try_acquire().unwrap().failure();
    assert_eq!(db.state(), CircuitState::Open, "with the failure from before");
    assert_eq!(api.status().remaining, 2, "one of three is used");
}

#[test]
fn another_kind_or_no_policy_of_the_name_begins_anew() {
    let registry = registry(&document([("a", bulkhead(1)), ("b", bulkhead(1))], []));
    let (a, b) = (registry.bulkhead("a").unwrap(), registry.bulkhead("b").unwrap());
    let _permits = (a.try_acquire().unwrap(), b.try_acquire().unwrap());
    let plan = registry.apply(&document([("a", rate_limit(1))], [])).unwrap();
    assert_eq!(plan.policy("a"), Some(Change::Replaced { was: "bulkhead" }));
    assert_eq!(plan.policy("b"), Some(Change::Removed));
    assert!(registry.bulkhead("a").is_none() && registry.policy("b").is_none());
    assert!(a.try_acquire().is_err(), "who holds the old one goes on with it");
    let plan = registry.apply(&document([("a", rate_limit(1)), ("b", bulkhead(1))], [])).unwrap();
    assert_eq!((plan.policy("a"), plan.policy("b")), (Some(Change::Unchanged), Some(Change::Added)));
    assert!(registry.bulkhead("b").unwrap().try_acquire().is_ok());
}

#[test]
fn a_plan_changes_nothing() {
    let first = document([("db", breaker(2))], []);
    let registry = registry(&first);
    let other = document([("db", breaker(9)), ("new", bulkhead(1))], [("p", PipelineOptions::from_iter([used("db")]))]);
    let plan = registry.plan(&other).unwrap();
    assert_eq!(registry.document(), first);
    assert_eq!(registry.circuit_breaker("db").unwrap().options().consecutive_failures, Some(2));
    assert!(registry.pipeline("p").is_none() && registry.bulkhead("new").is_none());
    assert_eq!(registry.apply(&other).unwrap(), plan, "and says what is going to happen");
}

#[test]
fn a_bad_document_changes_nothing_and_later_ones_still_work() {
    let first = document([("db", breaker(2)), ("old", bulkhead(4))], [("p", PipelineOptions::from_iter([used("db")]))]);
    let registry = registry(&first);
    let listener = registry.environment().events.subscribe(8);
    let nested = PipelineOptions::from_iter([timeout(SECOND), retry(2), retry(2)]);
    for bad in [
        document([("db", breaker(9)), ("new", bulkhead(0))], []),
        document([("db", breaker(9))], [("p", PipelineOptions::from_iter([used("gone")]))]),
        document([("db", breaker(9))], [("p", nested)]),
    ] {
        assert_eq!(registry.apply(&bad), registry.plan(&bad));
        assert!(registry.apply(&bad).is_err());
        assert_eq!(registry.document(), first);
        assert_eq!(registry.circuit_breaker("db").unwrap().options().consecutive_failures, Some(2));
        assert!(registry.bulkhead("old").is_some() && registry.policy("new").is_none());
        assert_eq!(order(&registry.pipeline("p").unwrap()), ["circuit_breaker(db)"]);
    }
    assert!(listener.try_next().is_none());
    registry.apply(&document([("db", breaker(7))], [])).unwrap();
    assert_eq!(registry.circuit_breaker("db").unwrap().options().consecutive_failures, Some(7));
    let happening = listener.try_next().unwrap().happening;
    assert_eq!(happening, Happening::RegistryApplied { changes: 3 }, "one changed, a policy and a pipeline gone");
}

#[test]
fn a_plan_says_in_words_what_changes() {
    let before = document(
        [("db", windowed(20)), ("gone", bulkhead(1)), ("kind", bulkhead(1)), ("more", bulkhead(1)), ("same", retry(2))],
        [
            ("order", PipelineOptions::from_iter([used("db"), used("more")])),
            ("same", PipelineOptions::from_iter([used("more")])),
            ("surer", PipelineOptions::default()),
            ("gone", PipelineOptions::default()),
        ],
    );
    let registry = registry(&before);
    assert_eq!(registry.plan(&before).unwrap().to_string(), "nothing changes");
    let after = document(
        [
            ("db", windowed(30)),
            ("kind", rate_limit(1)),
            ("more", bulkhead(2)),
            ("new", bulkhead(1)),
            ("same", retry(2)),
        ],
        [
            ("order", PipelineOptions::from_iter([used("more"), used("db")])),
            ("same", PipelineOptions::from_iter([used("more")])),
            ("surer", PipelineOptions { idempotent: true, ..PipelineOptions::default() }),
            ("new", PipelineOptions::default()),
        ],
    );
    let plan = registry.plan(&after).unwrap();
    let lines: Vec<_> = plan.to_string().lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "~ circuit_breaker `db`: other options, counts anew",
            "- bulkhead `gone`",
            "~ rate_limit `kind`: was a bulkhead, begins anew",
            "~ bulkhead `more`: other options, keeps its state",
            "+ bulkhead `new`",
            "- pipeline `gone`",
            "+ pipeline `new`",
            "~ pipeline `order`: `db` > `more` becomes `more` > `db`",
            "~ pipeline `surer`: other options",
            "! pipelines.order[1]: a bulkhead around the breaker makes calls queue",
        ]
        .map(|line| if line.starts_with('!') { lines[9].as_str() } else { line })
    );
    assert!(lines[9].ends_with("[breaker_inside_bulkhead]"), "{}", lines[9]);
    assert_eq!(plan.changes(), 9);
    assert_eq!(plan.pipeline("same"), Some(&OrderChange::Unchanged));
}

#[test]
fn what_was_changed_by_hand_is_brought_back() {
    let document = document([("a", bulkhead(4))], []);
    let registry = registry(&document);
    registry.bulkhead("a").unwrap().resize(9).unwrap();
    let plan = registry.apply(&document).unwrap();
    assert_eq!(plan.policy("a"), Some(Change::Changed { keeps_state: true }));
    assert_eq!(registry.bulkhead("a").unwrap().options().max_concurrent, 4);
}

#[test]
fn a_limit_for_each_attempt_that_comes_with_a_document_is_in_force() {
    let limits = |attempt| PolicyOptions::Timeout(TimeoutOptions { attempt, ..Default::default() });
    let steps = |attempt| document([], [("a", PipelineOptions::from_iter([limits(attempt), retry(2)]))]);
    let registry = registry(&steps(None));
    assert_eq!(order(&registry.pipeline("a").unwrap()), ["timeout(a/timeout)", "retry(a/retry)"]);
    registry.apply(&steps(Some(SECOND))).unwrap();
    let with_attempt = ["timeout(a/timeout)", "retry(a/retry)", "attempt_timeout(a/timeout)"];
    assert_eq!(order(&registry.pipeline("a").unwrap()), with_attempt);
}

#[test]
fn a_view_and_a_pipeline_that_are_held_keep_their_order() {
    let policies = || [("a", bulkhead(1)), ("b", rate_limit(5))];
    let registry = registry(&document(policies(), [("p", PipelineOptions::from_iter([used("a"), used("b")]))]));
    let (view, pipeline) = (registry.view(), registry.pipeline("p").unwrap());
    registry.apply(&document(policies(), [("p", PipelineOptions::from_iter([used("b"), used("a")]))])).unwrap();
    let before = ["bulkhead(a)", "rate_limit(b)"];
    assert_eq!(
        (order(&pipeline), order(view.pipeline("p").unwrap())),
        (before.map(String::from).into(), before.map(String::from).into())
    );
    assert_eq!(order(&registry.pipeline("p").unwrap()), ["rate_limit(b)", "bulkhead(a)"]);
    let places = registry.bulkhead("a").unwrap();
    let _permit = places.try_acquire().unwrap();
    assert!(view.bulkhead("a").unwrap().try_acquire().is_err(), "the policies are the same");
}

#[tokio::test]
async fn a_call_under_way_goes_on_with_what_it_has() {
    let registry = registry(&document([("a", bulkhead(1))], [("p", PipelineOptions::from_iter([used("a")]))]));
    let (end, ended) = tokio::sync::oneshot::channel::<u32>();
    let mut ended = Some(ended);
    let mut call = Box::pin(registry.execute("p", || {
        let ended = ended.take().unwrap();
        async { ended.await.map_err(|_| ()) }
    }));
    assert!(poll_once(call.as_mut()).is_pending());
    let held = registry.bulkhead("a").unwrap();
    assert_eq!(held.stats().active, 1);
    registry.apply(&Document::default()).unwrap();
    end.send(7).unwrap();
    assert_eq!(call.await, Ok(7));
    assert_eq!(held.stats().active, 0);
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// Calls on several threads while documents come one after the other: nobody is rejected without a reason, every
/// place is given back, and whoever looks sees one document and not a mixture.
#[test]
fn documents_change_while_calls_run() {
    const CALLERS: usize = 3;
    const ROUNDS: u32 = 200;
    let numbered = |round: u32| {
        let steps = match round % 2 {
            0 => [used("places"), used("db")],
            _ => [used("db"), used("places")],
        };
        let policies = [("places", bulkhead(100 + round)), ("db", breaker(1000 + round))];
        document(policies, [("p", PipelineOptions::from_iter(steps))])
    };
    let registry = registry(&numbered(0));
    let places = registry.bulkhead("places").unwrap();
    let start = Barrier::new(CALLERS + 2);
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    let view = registry.view();
                    let Some(PolicyOptions::Bulkhead(options)) = view.document().policies.get("places") else {
                        panic!("every document has it");
                    };
                    let first = if options.max_concurrent % 2 == 0 { "bulkhead" } else { "circuit_breaker" };
                    assert_eq!(view.pipeline("p").unwrap().steps()[0].component(), first);
                    let result = runtime.block_on(registry.execute("p", || async { Ok::<_, ()>(1) }));
                    assert_eq!(result, Ok(1));
                }
            });
        }
        // Two at once, of which one only ever brings documents that change nothing.
        scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                assert!(registry.apply(&document([("places", bulkhead(0))], [])).is_err());
            }
        });
        start.wait();
        for round in 1..=ROUNDS {
            registry.apply(&numbered(round)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(registry.document(), numbered(ROUNDS));
    assert_eq!(places.stats().max_concurrent, 100 + ROUNDS);
    assert_eq!(places.stats().active, 0);
    assert_eq!(registry.stats().applied, u64::from(ROUNDS) + 1);
}
