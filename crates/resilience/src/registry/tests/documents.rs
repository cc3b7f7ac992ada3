use super::*;
use crate::chaos::ChaosOptions;
use crate::hedge::HedgeOptions;
use crate::lint::Lint;

fn problems(document: &Document) -> Vec<String> {
    let Problems(problems) = Registry::new(document, &environment().1).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_pipeline_may_use_what_another_one_has_for_itself() {
    let upstream = PipelineOptions::from_iter([StepOptions::from(retry(3)), breaker(1).into()]);
    let route =
        PipelineOptions::from_iter([timeout(SECOND).into(), used("z app/retry"), used("z app/circuit_breaker")]);
    let written = document([], [("a route /x", route), ("z app", upstream)]);
    let registry = registry(&written);
    assert_eq!(
        order(&registry.pipeline("a route /x").unwrap()),
        ["timeout(a route /x/timeout)", "retry(z app/retry)", "circuit_breaker(z app/circuit_breaker)"]
    );
    registry.circuit_breaker("z app/circuit_breaker").unwrap().try_acquire().unwrap().failure();
    let call = || std::future::ready(Ok::<(), ()>(()));
    for pipeline in ["a route /x", "z app"] {
        let refused = registry.pipeline(pipeline).unwrap().execute(call).await.unwrap_err();
        assert_eq!(refused.rejection().map(Rejection::code), Some(crate::error::Code::BreakerOpen), "{pipeline}");
    }
    let unknown = document([], [("a", PipelineOptions::from_iter([used("b/retry")]))]);
    let problems = Registry::new(&unknown, &Environment::default()).unwrap_err();
    assert_eq!(problems.to_string(), "pipelines.a[0].use: there is no policy `b/retry`");
    let keyed = per_key(10, [retry(3)]);
    let of_a_key = document([], [("a", PipelineOptions::from_iter([used("b/retry")])), ("b", keyed)]);
    let problems = Registry::new(&of_a_key, &Environment::default()).unwrap_err();
    assert_eq!(problems.to_string(), "pipelines.a[0].use: `b/retry` is another policy for each key");
}

#[test]
fn policies_are_found_by_name_and_shared() {
    let chaos = PolicyOptions::Chaos(ChaosOptions::default());
    let first = PipelineOptions::from_iter([used("db"), used("chaos")]);
    let second = PipelineOptions::from_iter([StepOptions::from(retry(2)), used("db")]);
    let document = document([("db", breaker(5)), ("chaos", chaos)], [("first", first), ("second", second)]);
    let registry = registry(&document);
    let breaker = registry.circuit_breaker("db").unwrap();
    breaker.force_open();
    assert_eq!(order(&registry.pipeline("first").unwrap()), ["circuit_breaker(db)", "chaos(chaos)"]);
    assert_eq!(order(&registry.pipeline("second").unwrap()), ["retry(second/retry)", "circuit_breaker(db)"]);
    for pipeline in ["first", "second"] {
        let Some(Step::CircuitBreaker(found)) = registry
            .pipeline(pipeline)
            .unwrap()
            .steps()
            .iter()
            .find(|step| step.component() == "circuit_breaker")
            .cloned()
        else {
            panic!("a breaker in {pipeline}");
        };
        assert!(found.try_acquire().is_err(), "the one that was opened");
    }
    assert!(registry.circuit_breaker("chaos").is_none() && registry.chaos("chaos").is_some());
    assert!(registry.retry("second/retry").is_some() && registry.pipeline("db").is_none());
    let (policies, pipelines) = registry.names();
    assert_eq!(policies, ["chaos", "db", "second/retry"].map(Name::from));
    assert_eq!(pipelines, ["first", "second"].map(Name::from));
    assert_eq!(registry.document(), document);
}

#[test]
fn a_second_step_of_a_kind_has_a_name_of_its_own() {
    let registry = registry(&document([], [("a", PipelineOptions::from_iter([bulkhead(2), bulkhead(1)]))]));
    assert_eq!(order(&registry.pipeline("a").unwrap()), ["bulkhead(a/bulkhead)", "bulkhead(a/bulkhead-2)"]);
}

#[test]
fn statistics_of_all_can_be_walked() {
    let registry = registry(&document([("db", breaker(5)), ("api", rate_limit(3))], []));
    registry.rate_limiter("api").unwrap().try_acquire().unwrap().success();
    let mut seen = Vec::new();
    registry.for_each_policy(|name, step| seen.push((name.to_string(), PolicyStats::of(step).unwrap())));
    assert!(matches!(&seen[0], (name, PolicyStats::RateLimit(stats)) if name == "api" && stats.allowed == 1));
    assert!(matches!(&seen[1], (name, PolicyStats::CircuitBreaker(stats)) if name == "db" && stats.succeeded == 0));
    assert_eq!(registry.stats(), RegistryStats { policies: 2, pipelines: 0, applied: 1, keys: vec![] });
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_where() {
    let nested = PipelineOptions::from_iter([timeout(SECOND), retry(2), retry(2)]);
    let broken = PipelineOptions::from_iter([used("none"), retry(0).into(), used("db")]);
    let keyed = PipelineOptions {
        per_key: Some(PerKeyOptions { max_keys: 0 }),
        ..PipelineOptions::from_iter([bulkhead(0), PolicyOptions::KeyedRateLimit(RateLimitOptions::per_second(1))])
    };
    let policies = [("db", breaker(0)), ("a/b", bulkhead(1)), ("api", PolicyOptions::RateLimit(Default::default()))];
    let document = document(policies, [("broken", broken), ("keyed", keyed), ("nested", nested)]);
    let paths: Vec<_> = problems(&document).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(
        paths,
        [
            "policies.a/b",
            "policies.api.rate_limit.token_bucket",
            "policies.db.circuit_breaker.consecutive_failures",
            "pipelines.broken[1].retry.attempts",
            "pipelines.keyed.per_key.max_keys",
            "pipelines.keyed.steps[0].bulkhead.max_concurrent",
            "pipelines.keyed.steps[1].keyed_rate_limit",
            "pipelines.broken[0].use",
            "pipelines.nested[2]",
        ]
    );
    assert!(problems(&document)[8].ends_with("[nested_retries]"), "{:?}", problems(&document)[8]);
}

#[test]
fn names_and_numbers_of_keys_have_bounds() {
    let named = |name: &str| Registry::new(&document([(name, bulkhead(1))], []), &environment().1);
    assert!(named(&"n".repeat(128)).is_ok() && named("a").is_ok());
    assert!(named(&"n".repeat(129)).is_err() && named("").is_err());
    let keys = |most| Registry::new(&document([], [("p", per_key(most, [bulkhead(1)]))]), &environment().1);
    assert!(keys(1).is_ok() && keys(1_000_000).is_ok());
    assert!(keys(0).is_err() && keys(1_000_001).is_err());
}

#[test]
fn a_policy_that_is_named_twice_in_one_pipeline_is_a_mistake_of_the_second() {
    let twice = PipelineOptions::from_iter([used("db"), used("db")]);
    let found = problems(&document([("db", breaker(5))], [("p", twice)]));
    assert!(found.len() == 1 && found[0].starts_with("pipelines.p[1]: "), "{found:?}");
}

#[test]
fn a_mistake_in_the_order_is_found_at_the_step_as_it_is_written() {
    // The limit of each attempt is a step of its own behind the breaker; the paths go by what is written.
    let attempt = TimeoutOptions { total: Some(SECOND), attempt: Some(2 * SECOND), ..Default::default() };
    let steps = [PolicyOptions::Timeout(attempt), breaker(5), bulkhead(1), timeout(SECOND), retry(2), timeout(SECOND)];
    let document = document([], [("a", PipelineOptions::from_iter(steps))]);
    let Problems(problems) = Registry::new(&document, &environment().1).unwrap_err();
    let found: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.lint)).collect();
    assert_eq!(
        found,
        [("pipelines.a[0]", Some(Lint::AttemptOutlivesTotal)), ("pipelines.a[5]", Some(Lint::TotalInsideRetry)),]
    );
}

#[test]
fn what_has_a_cost_is_a_warning_of_the_plan() {
    let registry = registry(&Document::default());
    let hedge = || PolicyOptions::Hedge(HedgeOptions::default());
    let doubtful = document([], [("a", PipelineOptions::from_iter([hedge()]))]);
    let plan = registry.plan(&doubtful).unwrap();
    assert_eq!(plan.warnings[0].lint, Some(Lint::HedgeNotIdempotent));
    assert_eq!(plan.warnings[0].path, "pipelines.a[0]");
    let sure = PipelineOptions { idempotent: true, ..PipelineOptions::from_iter([hedge()]) };
    assert_eq!(registry.plan(&document([], [("a", sure)])).unwrap().warnings, []);
}

#[test]
fn a_hedge_inside_a_retry_charges_its_budget() {
    let hedge = PolicyOptions::Hedge(HedgeOptions::default());
    let steps = PipelineOptions::from_iter([timeout(SECOND), retry(2), hedge]);
    let registry = registry(&document([], [("a", PipelineOptions { idempotent: true, ..steps })]));
    let pipeline = registry.pipeline("a").unwrap();
    let (Step::Retry(retry), Step::Hedge(hedge)) = (&pipeline.steps()[1], &pipeline.steps()[2]) else {
        panic!("{pipeline:?}");
    };
    retry.begin(&Reading::taken(crate::clock::Moment::ORIGIN));
    assert_eq!(hedge.budget().stats().calls, 1);
}

#[cfg(feature = "serde")]
mod serde {
    use super::*;

    const FULL: &str = r#"{
        "policies": {
            "payments-db": { "circuit_breaker": { "consecutive_failures": "off", "window": { "calls": 50 } } },
            "per-tenant": { "keyed_rate_limit": { "token_bucket": { "rate": 100, "per": "1s" }, "max_keys": 5 } },
            "queue": { "rate_limit": { "leaky_bucket": { "rate": 5, "queue": 10 } } },
            "self": { "adaptive": { "algorithm": { "kind": "vegas" } } }
        },
        "pipelines": {
            "checkout": [
                { "use": "per-tenant" },
                { "timeout": { "total": "2s", "attempt": "500ms" } },
                { "retry": { "attempts": 3, "backoff": { "strategy": "constant", "delay": "50ms" } } },
                { "use": "payments-db" },
                { "chaos": { "abort": { "percentage": "5%" } } }
            ],
            "search": {
                "per_key": { "max_keys": 1000 },
                "idempotent": true,
                "steps": [{ "hedge": { "delay": "20ms" } }, { "circuit_breaker": {} }, { "bulkhead": { "queue": 4 } }]
            }
        }
    }"#;

    #[test]
    fn a_full_document_is_read_built_and_written_alike() {
        let document: Document = serde_json::from_str(FULL).unwrap();
        let registry = registry(&document);
        assert_eq!(registry.pipeline("checkout").unwrap().steps().len(), 6, "with the limit of each attempt");
        assert_eq!(registry.retry("checkout/retry").unwrap().options().attempts, 3);
        assert!(registry.pipeline_for("search", "ann").is_ok());
        let written = serde_json::to_string(&registry.document()).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&written).unwrap(), document);
    }

    #[test]
    fn unknown_keys_and_kinds_are_refused_with_what_could_stand_there() {
        for (text, said) in [
            (r#"{ "policy": {} }"#, "unknown field `policy`"),
            (r#"{ "policies": { "a": { "breaker": {} } } }"#, "unknown variant `breaker`"),
            (r#"{ "policies": { "a": { "bulkhead": { "max": 1 } } } }"#, "unknown field `max`"),
            (r#"{ "policies": { "a": { "use": "b" } } }"#, "unknown variant `use`"),
            (r#"{ "pipelines": { "a": [{ "retry": { "tries": 1 } }] } }"#, "unknown field `tries`"),
            (r#"{ "pipelines": { "a": [{ "again": {} }] } }"#, "unknown variant `again`"),
            (r#"{ "pipelines": { "a": { "steps": [], "keys": 1 } } }"#, "unknown field `keys`"),
            (r#"{ "pipelines": { "a": {} } }"#, "missing field `steps`"),
            (r#"{ "pipelines": { "a": 5 } }"#, "a list of steps, or a map with `steps`"),
        ] {
            let error = serde_json::from_str::<Document>(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[cfg(feature = "schema")]
    #[test]
    fn the_schema_knows_both_forms_of_a_pipeline_and_every_kind_of_step() {
        let schema = serde_json::to_value(schemars::schema_for!(Document)).unwrap();
        let forms = &schema["$defs"]["PipelineOptions"]["anyOf"];
        assert_eq!(forms[0]["type"], "array");
        assert!(forms[1]["$ref"].is_string());
        let text = schema["$defs"]["StepOptions"].to_string();
        for kind in ["use", "rate_limit", "keyed_rate_limit", "circuit_breaker", "timeout", "hedge", "chaos"] {
            assert!(text.contains(&format!("\"{kind}\"")), "{kind} in {text}");
        }
    }
}
