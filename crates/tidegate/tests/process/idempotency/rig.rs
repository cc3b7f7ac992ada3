//! A gateway that guards the keys of one upstream.

use std::net::SocketAddr;

use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::http1::Response;
use tidegate_testkit::recorder::{Recorder, Step, response};

use crate::rig::{BINARY, check_problem};

/// The gateway and its upstream.
pub(super) struct Guarded {
    pub(super) gateway: Gateway,
    pub(super) recorder: Recorder,
}

impl Guarded {
    /// With these further options of the guard, and an upstream that does this.
    pub(super) fn start(options: &str, steps: Vec<Step>) -> Self {
        let recorder = super::scripted(steps);
        let gateway = Gateway::start(BINARY, &config(recorder.address(), options));
        Self { gateway, recorder }
    }

    pub(super) fn connect(&self) -> RawClient {
        RawClient::connect(self.gateway.address(0))
    }

    /// A request on a connection of its own.
    pub(super) fn ask(&self, request: &str) -> Response {
        self.connect().exchange(request)
    }

    pub(super) fn end(self) {
        let ended = self.gateway.terminate();
        assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
    }
}

/// One route, to `upstream`, with these further options of its guard.
pub(super) fn config(upstream: SocketAddr, options: &str) -> String {
    format!(
        "workers: 2\n\
         log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         reload: {{ watch: false }}\n\
         shutdown: {{ drain: 200ms }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
         upstreams: {{ app: {{ endpoints: [ \"{upstream}\" ] }} }}\n\
         routes:\n\
         - {{ name: shop, match: {{ prefix: / }}, upstream: app, \
              filters: [ {{ idempotency: {{ by: [\"header:x-user\"]{options} }} }} ] }}\n"
    )
}

/// An upstream that makes what it is asked for.
pub(super) fn created() -> Vec<Step> {
    vec![Step::AwaitRequest, Step::Send(response("201 Created", &[], "made"))]
}

pub(super) fn post(target: &str, key: &str, body: &str) -> String {
    post_as("ann", target, key, body)
}

pub(super) fn post_as(user: &str, target: &str, key: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: shop.test\r\nX-User: {user}\r\nIdempotency-Key: {key}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// It was kept, and says so.
pub(super) fn check_replayed(answer: &Response) {
    assert!(answer.is_complete(), "{answer:?}");
    assert_eq!(answer.fields.all("idempotency-replayed").collect::<Vec<_>>(), ["true"], "{answer:?}");
}

pub(super) fn check_fault(answer: &Response, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?} {}", answer.text());
    check_problem(answer);
    assert_eq!(answer.json()["error_code"], code);
}
