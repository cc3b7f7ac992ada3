//! Policies around requests, as clients and upstreams see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_testkit::client::RawClient;
use tidegate_testkit::gate::Gate;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::Response;
use tidegate_testkit::recorder::{Recorder, Seen, Step, response};

use crate::reload::{admin, is_reloaded, reload};
use crate::rig::BINARY;

/// An endpoint that answers every request with this status.
fn answering(status: &'static str) -> Recorder {
    Recorder::with(move |_| vec![Step::AwaitRequest, Step::Send(response(status, &[], ""))])
}

/// An endpoint that never answers.
fn hanging() -> Recorder {
    Recorder::with(|_| vec![Step::AwaitClose])
}

/// `protect` and more of the upstream `app`, and a piece of its route.
fn config(endpoints: &[&Recorder], upstream: &str, route: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{}\"", endpoint.address())).collect();
    format!(
        "workers: 1\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         shutdown: {{ drain: 200ms }}\n\
         reload: {{ watch: false }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
         upstreams: {{ app: {{ endpoints: [ {} ], outlier: off, {upstream} }} }}\n\
         routes: [ {{ name: all, match: {{ prefix: / }}, upstream: app, {route} }} ]\n",
        endpoints.join(", ")
    )
}

fn start(endpoints: &[&Recorder], upstream: &str, route: &str) -> Gateway {
    Gateway::start(BINARY, &config(endpoints, upstream, route))
}

fn get(gateway: &Gateway, target: &str) -> Response {
    RawClient::connect(gateway.address(0)).get(target)
}

fn code(answer: &Response) -> String {
    answer.json()["error_code"].as_str().unwrap_or_default().to_owned()
}

/// How often the fallback of the route has answered by itself, and from another upstream.
fn fallbacks(gateway: &Gateway) -> [u64; 2] {
    let (_, text) = admin(gateway, "/metrics");
    ["respond", "upstream"].map(|kind| {
        let series = format!(r#"tidegate_fallback_answers_total{{route="all",upstream="app",kind="{kind}"}} "#);
        let count = text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
        count.unwrap_or_else(|| panic!("no {series}\n{text}"))
    })
}

fn end(gateway: Gateway) {
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

/// Two attempts without a wait between them.
const TWICE: &str = "protect: [ { retry: { attempts: 2, budget: off, backoff: { strategy: constant, delay: 1ms } } } ]";

#[test]
fn a_failed_request_is_sent_to_another_endpoint() {
    for upstream in [TWICE, "panic_threshold: 1%"] {
        let (sick, well) = (answering("503 Service Unavailable"), Recorder::start());
        let gateway = start(&[&sick, &well], upstream, "");
        for number in 0..10 {
            assert_eq!(get(&gateway, &format!("/{number}")).status, 200);
        }
        assert_eq!(sick.requests().len(), 5, "every other request begins there");
        assert_eq!(well.requests().len(), 10);
        end(gateway);
    }
}

#[test]
fn nothing_is_sent_twice_that_must_not_be() {
    let (sick, well) = (answering("503 Service Unavailable"), Recorder::start());
    let gateway = start(&[&sick, &well], TWICE, "");
    let mut client = RawClient::connect(gateway.address(0));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = client.exchange("POST /pay HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n100$");
        statuses.push(answer.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
    assert_eq!((sick.requests().len(), well.requests().len()), (2, 2));
    end(gateway);
    // And where nobody has asked for it.
    let gateway = start(&[&sick], "protect: []", "");
    let before = sick.requests().len();
    assert_eq!(get(&gateway, "/").status, 503);
    assert_eq!(sick.requests().len(), before + 1);
    end(gateway);
}

#[test]
fn a_body_is_sent_again_as_it_was() {
    let (sick, well) = (answering("502 Bad Gateway"), Recorder::start());
    for (method, route) in [("PUT", ""), ("POST", "idempotent: true")] {
        let gateway = start(&[&sick, &well], TWICE, route);
        let mut client = RawClient::connect(gateway.address(0));
        let head = format!("{method} /doc HTTP/1.1\r\nHost: a.test\r\n");
        for body in [
            "Content-Length: 11\r\n\r\nhello world",
            "Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 7\r\n\r\n",
        ] {
            for _ in 0..2 {
                let answer = client.exchange(format!("{head}{body}"));
                assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("hello world")));
            }
        }
        let seen = sick.requests();
        assert!(seen.iter().all(|seen| seen.body == b"hello world" && seen.complete), "{seen:?}");
        let trailers =
            |recorder: &Recorder| recorder.requests().iter().filter(|seen| !seen.trailers.is_empty()).count();
        assert_eq!(2 * trailers(&sick), trailers(&well));
        end(gateway);
    }
    assert_eq!((sick.requests().len(), well.requests().len()), (4, 8));
}

#[test]
fn a_body_that_is_too_long_to_keep_is_sent_once() {
    let (sick, well) = (answering("502 Bad Gateway"), Recorder::start());
    let gateway = start(&[&sick, &well], &format!("replay: 8, {TWICE}"), "");
    let mut client = RawClient::connect(gateway.address(0));
    let mut statuses = Vec::new();
    for body in ["Content-Length: 9\r\n\r\n123456789", "Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n"]
    {
        for _ in 0..2 {
            statuses.push(client.exchange(format!("PUT / HTTP/1.1\r\nHost: a.test\r\n{body}")).status);
        }
    }
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 2, "{statuses:?}");
    assert_eq!(client.exchange("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\n12345678").status, 200);
    end(gateway);
}

#[test]
fn an_attempt_that_hangs_gives_way_to_another() {
    let (dead, well) = (hanging(), Recorder::start());
    let steps = "protect: [ { timeout: { total: 20s, attempt: 100ms } }, { retry: { attempts: 3, budget: off } } ]";
    let gateway = start(&[&dead, &well], steps, "");
    for number in 0..4 {
        assert_eq!(get(&gateway, &format!("/{number}")).status, 200);
    }
    assert_eq!(dead.requests().len(), 2);
    end(gateway);
}

#[test]
fn a_request_ends_when_its_time_is_up() {
    let dead = hanging();
    let steps = "protect: [ { timeout: { total: 150ms } }, { retry: { attempts: 3 } } ]";
    let gateway = start(&[&dead], steps, "");
    let answer = get(&gateway, "/");
    assert_eq!((answer.status, code(&answer).as_str()), (504, "SVC_007"));
    end(gateway);
    let gateway = start(&[&dead], "protect: [ { timeout: { total: 20s, attempt: 50ms } } ]", "");
    let answer = get(&gateway, "/");
    assert_eq!((answer.status, code(&answer).as_str()), (504, "SVC_006"));
    end(gateway);
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let busy = Recorder::with(|_| {
        vec![Step::AwaitRequest, Step::Send(response("503 Service Unavailable", &[("Retry-After", "3600")], ""))]
    });
    let gateway = start(&[&busy], TWICE, "");
    let answer = get(&gateway, "/");
    assert_eq!((answer.status, answer.fields.first("retry-after")), (503, Some("3600")));
    assert_eq!(busy.requests().len(), 1);
    end(gateway);
}

#[test]
fn a_circuit_opens_and_stays_open_through_reloads() {
    let sick = answering("500 Internal Server Error");
    let breaker = |open: &str| {
        format!("protect: [ {{ circuit_breaker: {{ consecutive_failures: 3, open_for: {open}, open_max: 24h }} }} ]")
    };
    let gateway = start(&[&sick], &breaker("1h"), "");
    let statuses: Vec<_> = (0..3).map(|_| get(&gateway, "/").status).collect();
    assert_eq!(statuses, [500; 3]);
    let refused = |gateway: &Gateway| {
        let answer = get(gateway, "/");
        assert_eq!((answer.status, code(&answer).as_str()), (503, "SVC_008"), "{answer:?}");
        let seconds: u64 = answer.fields.first("retry-after").expect("a time").parse().expect("a number");
        assert!(seconds > 1, "{seconds}");
    };
    refused(&gateway);
    // Another option of the same policy, another endpoint, another policy beside it: the circuit is the same.
    let other = Recorder::start();
    gateway.rewrite_config(&config(&[&sick, &other], &breaker("2h"), "protect: [ { timeout: { total: 9s } } ]"));
    reload(&gateway, is_reloaded);
    refused(&gateway);
    assert_eq!((sick.requests().len(), other.requests().len()), (3, 0));
    gateway.rewrite_config(&config(&[&other], "protect: []", ""));
    reload(&gateway, is_reloaded);
    assert_eq!(get(&gateway, "/").status, 200);
    end(gateway);
}

#[test]
fn a_place_is_taken_until_the_end_of_the_body() {
    let gate = Gate::new();
    let (begin, rest) = ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", "cd");
    let slow = Recorder::with({
        let gate = gate.clone();
        move |seen| match &*seen.target {
            "/slow" => vec![Step::Send(begin.into()), Step::AwaitGate(gate.clone()), Step::Send(rest.into())],
            _ => vec![Step::AwaitRequest, Step::Answer],
        }
    });
    let gateway = start(&[&slow], "protect: [ { bulkhead: { max_concurrent: 1, queue: 0 } } ]", "");
    let mut client = RawClient::connect(gateway.address(0));
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let begun = client.begin_response("GET").expect("a head");
    assert_eq!(begun.status, 200);
    let refused = get(&gateway, "/");
    assert_eq!((refused.status, code(&refused).as_str()), (503, "SVC_009"));
    gate.open();
    assert_eq!(client.read_exactly(4).expect("the body"), b"abcd");
    // The place is free once the gateway has seen the end, which the next answer on the connection shows.
    assert_eq!(client.get("/").status, 200);
    end(gateway);
}

#[test]
fn a_slow_request_is_copied_and_the_first_answer_wins() {
    let (slow, quick) = (hanging(), Recorder::start());
    let steps = "protect: [ { hedge: { delay: 50ms, percentile: off, budget: off } } ]";
    let gateway = start(&[&slow, &quick], steps, "");
    for number in 0..4 {
        assert_eq!(get(&gateway, &format!("/{number}")).status, 200);
    }
    assert_eq!((slow.requests().len(), quick.requests().len()), (2, 4));
    slow.wait_until_all_ended();
    end(gateway);
}

#[test]
fn what_may_not_be_sent_twice_is_not_copied() {
    let hang = |seen: &Seen| if seen.target == "/fine" { vec![Step::Answer] } else { vec![Step::AwaitClose] };
    let (one, other) = (Recorder::with(hang), Recorder::with(hang));
    let steps = "protect: [ { hedge: { delay: 20ms, percentile: off, budget: off } } ]";
    let gateway = start(&[&one, &other], steps, "");
    let mut posted = RawClient::connect(gateway.address(0));
    posted.send("POST /pay HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n1");
    let seen = |target: &str| [&one, &other].map(|endpoint| endpoint.requests_for(target).len()).iter().sum::<usize>();
    // When this one is copied, the time for a copy of the other has long come.
    let mut watched = RawClient::connect(gateway.address(0));
    watched.send("GET /watched HTTP/1.1\r\nHost: a.test\r\n\r\n");
    one.wait_for_target("/watched");
    other.wait_for_target("/watched");
    assert_eq!((seen("/watched"), seen("/pay")), (2, 1));
    assert_eq!(get(&gateway, "/fine").status, 200);
    end(gateway);
}

#[test]
fn policies_of_a_route_stand_around_those_of_its_upstream() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let sick = Recorder::with(move |_| {
        counting.fetch_add(1, Ordering::SeqCst);
        vec![Step::AwaitRequest, Step::Send(response("502 Bad Gateway", &[], ""))]
    });
    let retry = "protect: [ { retry: { attempts: 3, budget: off, backoff: { strategy: constant, delay: 1ms } } } ]";
    let gateway = start(&[&sick], retry, "protect: [ { rate_limit: { fixed_window: { limit: 2, window: 1h } } } ]");
    let statuses: Vec<_> = (0..3).map(|_| get(&gateway, "/").status).collect();
    assert_eq!(statuses, [502, 502, 429]);
    assert_eq!(calls.load(Ordering::SeqCst), 6, "the limit counts requests, not attempts");
    end(gateway);
}

#[test]
fn a_request_that_is_given_up_frees_what_it_holds() {
    let slow = hanging();
    let gateway = start(&[&slow], "protect: [ { bulkhead: { max_concurrent: 1, queue: 0 } } ]", "");
    for number in 1..=3 {
        let mut client = RawClient::connect(gateway.address(0));
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        slow.wait_for_requests(number);
        client.reset();
        slow.wait_until_all_ended();
    }
    end(gateway);
}

#[test]
fn a_fallback_stands_in_where_there_is_no_answer() {
    let sick = Recorder::with(|seen| {
        vec![match &*seen.target {
            "/reset" => Step::Reset,
            "/503" => Step::Send(response("503 Service Unavailable", &[], "")),
            "/404" => Step::Send(response("404 Not Found", &[], "")),
            _ => Step::AwaitClose,
        }]
    });
    let steps = "protect: [ { timeout: { total: 100ms } } ]";
    let gateway = start(&[&sick], steps, "fallback: { respond: { status: 200, body: \"degraded\" } }");
    for target in ["/reset", "/503", "/hangs"] {
        let answer = get(&gateway, target);
        assert_eq!((answer.status, answer.text().as_str()), (200, "degraded"), "{target}");
    }
    assert_eq!(get(&gateway, "/404").status, 404);
    // What the client has done wrong is its own affair.
    let mut client = RawClient::connect(gateway.address(0));
    client.send("POST /hangs HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nnonsense");
    assert_eq!(client.read_response("POST").expect("an answer").status, 400);
    assert_eq!(fallbacks(&gateway), [3, 0]);
    end(gateway);
}

#[test]
fn another_upstream_stands_in_where_that_does_no_harm() {
    let (sick, spare) = (answering("503 Service Unavailable"), Recorder::start());
    let config = config(&[&sick], "host: endpoint", "fallback: { upstream: spare }")
        .replace("upstreams: {", &format!("upstreams: {{ spare: {{ endpoints: [ \"{}\" ] }},", spare.address()));
    let gateway = Gateway::start(BINARY, &config);
    let mut client = RawClient::connect(gateway.address(0));
    let answer = client.get("/doc");
    assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some("/doc")));
    let seen = spare.wait_for_target("/doc");
    assert_eq!((seen.fields.first("host"), seen.fields.all("x-forwarded-for").count()), (Some("honest.test"), 1));
    let put = client.exchange("PUT /doc HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!((put.status, put.json()["body"].as_str()), (200, Some("body")));
    let pay = client.exchange("POST /pay HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n100$");
    assert_eq!((pay.status, code(&pay).as_str()), (502, "SVC_011"));
    assert_eq!(spare.requests_for("/pay").len(), 0);
    assert_eq!(fallbacks(&gateway), [0, 2]);
    end(gateway);
}

#[test]
fn an_endpoint_has_a_breaker_of_its_own() {
    let (sick, well) = (answering("500 Internal Server Error"), Recorder::start());
    let breaker = |open_for: &str| {
        format!("protect: [], endpoint_breaker: {{ consecutive_failures: 2, open_for: {open_for}, probes: 1 }}")
    };
    let gateway = start(&[&sick, &well], &breaker("1h, open_max: 24h"), "");
    let statuses: Vec<_> = (0..20).map(|_| get(&gateway, "/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 2, "{statuses:?}");
    assert_eq!(sick.requests().len(), 2, "then it is left alone");
    end(gateway);

    // Alone, it is not asked either, though there is nobody to answer instead.
    let gateway = start(&[&sick], &breaker("1h, open_max: 24h"), "");
    let statuses: Vec<_> = (0..4).map(|_| get(&gateway, "/").status).collect();
    assert_eq!(statuses, [500, 500, 503, 503]);
    let refused = get(&gateway, "/");
    assert_eq!(code(&refused), "SVC_008");
    assert!(refused.fields.first("retry-after").is_some_and(|seconds| seconds != "1"), "{refused:?}");
    end(gateway);
}

/// Ten thousand requests that come while a circuit is half open: as many as it has probes get through.
#[test]
fn exactly_the_probes_reach_an_upstream_that_is_tried_again() {
    const CLIENTS: usize = 50;
    const REQUESTS: usize = 200;
    let (probed, answers) = (Gate::new(), Gate::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let upstream = Recorder::with({
        let (probed, answers, calls) = (probed.clone(), answers.clone(), Arc::clone(&calls));
        move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => vec![Step::AwaitRequest, Step::Send(response("500 Internal Server Error", &[], ""))],
            _ => vec![
                Step::AwaitRequest,
                Step::OpenGate(probed.clone()),
                Step::AwaitGate(answers.clone()),
                Step::Send(response("200 OK", &[], "")),
            ],
        }
    });
    let options = "protect: [ { circuit_breaker: { consecutive_failures: 1, open_for: 1ms, probes: 3 } } ]";
    let config = config(&[&upstream], options, "").replace("workers: 1", "workers: 4");
    let gateway = Gateway::start(BINARY, &config);
    assert_eq!(get(&gateway, "/").status, 500);
    let address = gateway.address(0);
    let ask = move || {
        let mut client = RawClient::connect(address);
        (0..REQUESTS).filter(|_| client.get("/").status == 503).count()
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| std::thread::spawn(ask)).collect();
    assert!(probed.wait());
    upstream.wait_for_requests(4);
    let (waiting, done): (Vec<_>, Vec<_>) = {
        // All but the three that probe end while the probes are held.
        let mut clients = clients;
        let mut done = Vec::new();
        while done.len() < CLIENTS - 3 {
            let (ended, going): (Vec<_>, Vec<_>) = clients.into_iter().partition(std::thread::JoinHandle::is_finished);
            done.extend(ended);
            clients = going;
            std::thread::yield_now();
        }
        (clients, done)
    };
    let refused: usize = done.into_iter().map(|client| client.join().expect("a client")).sum();
    assert_eq!((refused, calls.load(Ordering::SeqCst)), ((CLIENTS - 3) * REQUESTS, 4));
    answers.open();
    waiting.into_iter().for_each(|client| assert!(client.join().is_ok()));
    end(gateway);
}

#[test]
fn an_upstream_is_told_of_attempts_and_time_where_that_is_asked_for() {
    let sick = answering("502 Bad Gateway");
    let steps = "protect: [ { timeout: { total: 9s } }, { retry: { attempts: 2, budget: off } } ]";
    let config = config(&[&sick], steps, "") + "headers: { attempt: true }\n";
    let gateway = Gateway::start(BINARY, &config);
    let mut client = RawClient::connect(gateway.address(0));
    let answer = client.exchange("GET / HTTP/1.1\r\nHost: a.test\r\nX-Attempt: 7\r\nX-Timeout-Ms: 1\r\n\r\n");
    assert_eq!(answer.status, 502);
    let seen = sick.requests();
    let attempts: Vec<_> = seen.iter().map(|seen| seen.fields.all("x-attempt").collect::<Vec<_>>()).collect();
    assert_eq!(attempts, [["1"], ["2"]]);
    let left = |at: usize| seen[at].fields.first("x-timeout-ms").expect("a time").parse::<u64>().expect("a number");
    assert!(left(0) <= 9000 && left(1) < left(0), "{seen:?}");
    end(gateway);
}
