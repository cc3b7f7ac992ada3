//! `tidegate demo`: what a stranger sees first.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::signal_process;
use tidegate_testkit::http1::Response;

use crate::rig::BINARY;

/// A running demo, which ends by itself should the test not get there.
struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Where its page and its admin pages are.
    addresses: Vec<SocketAddr>,
    text: String,
}

impl Demo {
    fn start() -> Self {
        let mut child =
            Command::new(BINARY).args(["demo", "--for", "1m"]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut text = String::new();
        while !text.contains("access log") {
            assert_ne!(output.read_line(&mut text).expect("text"), 0, "it ended early: {text}");
        }
        let address = |line: &str| line.split("http://").nth(1)?.split('/').next()?.parse().ok();
        let addresses = text.lines().filter(|line| !line.contains("curl")).filter_map(address).collect();
        Self { child, output, addresses, text }
    }

    fn get(&self, target: &str) -> Response {
        RawClient::connect(self.addresses[0]).get(target)
    }

    /// Ends it as Ctrl-C does, and returns what it has printed since its start.
    fn end(mut self) -> String {
        signal_process(self.child.id(), Signal::INT);
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("text");
        assert!(self.child.wait().expect("it was started").success(), "{rest}");
        rest
    }
}

#[test]
fn everything_that_is_shown_works() {
    let demo = Demo::start();
    assert_eq!(demo.addresses.len(), 2, "{}", demo.text);
    let page = demo.get("/");
    assert_eq!((page.status, page.fields.first("content-type")), (200, Some("text/html; charset=utf-8")));
    for link in page.text().split("<a href=\"/").skip(1).map(|rest| rest.split('"').next().unwrap_or_default()) {
        let answer = demo.get(&format!("/{link}"));
        let expected: &[u16] = match link {
            "impatient" => &[504],
            "denied" => &[403],
            "old" => &[308],
            "nowhere" => &[404],
            _ => &[200],
        };
        assert!(answer.is_complete() && expected.contains(&answer.status), "/{link}: {answer:?}");
    }
    assert!(page.text().contains(&format!("curl -i http://{}/fast/hello", demo.addresses[0])));
    assert!(demo.text.contains(&format!("curl -i http://{}/fast/hello", demo.addresses[0])), "{}", demo.text);
    let admin = RawClient::connect(demo.addresses[1]).exchange("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(admin.status, 200);
    let rest = demo.end();
    assert!(rest.contains("\"GET /fast/hello HTTP/1.1\" 200"), "the access log: {rest}");
}

#[test]
fn the_flaky_service_fails_in_turn() {
    let demo = Demo::start();
    let statuses: Vec<_> = (0..6).map(|_| demo.get("/flaky").status).collect();
    assert_eq!(statuses, [200, 503, 502, 200, 503, 502]);
    let retried: Vec<_> = (0..6).map(|_| demo.get("/sturdy").status).collect();
    assert_eq!(retried, [200; 6], "behind a retry it does not");
    demo.end();
}

#[test]
fn two_demos_stand_side_by_side() {
    let (one, two) = (Demo::start(), Demo::start());
    assert_ne!(one.addresses[0], two.addresses[0]);
    assert_eq!((one.get("/fast").status, two.get("/fast").status), (200, 200));
    one.end();
    two.end();
}

#[test]
fn it_ends_by_itself() {
    let output = Command::new(BINARY).args(["demo", "--for", "1ms"]).output().expect("it starts");
    assert!(output.status.success());
    let wrong = Command::new(BINARY).args(["demo", "--for", "soon"]).output().expect("it starts");
    assert_eq!(wrong.status.code(), Some(2), "wrong use");
}
