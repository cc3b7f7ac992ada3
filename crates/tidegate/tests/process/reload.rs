//! Another configuration while the gateway serves: nothing is lost, and an invalid one changes nothing.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tidegate_testkit::certificates::Authority;
use tidegate_testkit::client::RawClient;
use tidegate_testkit::gateway::{Gateway, folder};
use tidegate_testkit::log::LogLine;
use tidegate_testkit::recorder::Recorder;

use crate::load::Service;
use crate::rig::BINARY;
use crate::shutdown::wait_until_refused;

/// Reloads under load; `TIDEGATE_TEST_RELOADS` says otherwise.
const RELOADS: usize = 50;

/// The number that an environment variable says, or `default`.
pub(crate) fn count(variable: &str, default: usize) -> usize {
    let written = std::env::var(variable).ok();
    written.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// A configuration whose `/generation` answers `generation`; `more` are further top-level keys.
fn config(upstream: std::net::SocketAddr, generation: usize, more: &str) -> String {
    format!(
        "log: {{ format: json }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         listeners: [ {{ address: \"127.0.0.1:0\" }} ]\n\
         upstreams: {{ app: {{ endpoints: [ \"{upstream}\" ] }}, u{generation}: {{ endpoints: [ \"{upstream}\" ] }} }}\n\
         routes:\n\
         - {{ match: {{ path: /generation }}, respond: {{ status: 200, body: \"{generation}\" }} }}\n\
         - {{ match: {{ path: \"/only/{generation}\" }}, upstream: u{generation} }}\n\
         - {{ name: all, match: {{ prefix: / }}, upstream: app }}\n\
         {more}\n"
    )
}

/// As [`config`], for tests in which SIGHUP is what reloads.
fn unwatched(upstream: std::net::SocketAddr, generation: usize) -> String {
    config(upstream, generation, "reload: { watch: false }")
}

fn generation(gateway: &Gateway) -> String {
    RawClient::connect(gateway.address(0)).get("/generation").text()
}

pub(crate) fn is_reloaded(line: &LogLine) -> bool {
    line.says("reloaded")
}

fn is_refused(line: &LogLine) -> bool {
    line.says("reload failed, the configuration in force stays")
}

pub(crate) fn reload(gateway: &Gateway, outcome: fn(&LogLine) -> bool) -> LogLine {
    let before = gateway.log_length();
    gateway.signal(Signal::HUP);
    gateway.wait_for_log_after(before, "the outcome of a reload", outcome)
}

/// The admin listener's answer.
pub(crate) fn admin(gateway: &Gateway, target: &str) -> (u16, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = RawClient::connect(gateway.admin_address()).exchange(request);
    (answer.status, answer.text())
}

fn last_reload(gateway: &Gateway) -> Value {
    let (status, text) = admin(gateway, "/healthz");
    assert_eq!(status, 200);
    serde_json::from_str::<Value>(&text).expect("JSON")["config"]["last_reload"].clone()
}

#[test]
fn reloads_under_load_lose_nothing() {
    let service = Service::start();
    let upstream = service.address();
    let gateway = Gateway::start(BINARY, &unwatched(upstream, 0));
    let mut load = service.load(gateway.address(0));
    load.wait_until_busy();
    let reloads = count("TIDEGATE_TEST_RELOADS", RELOADS);
    for number in 1..=reloads {
        if number % 10 == 5 {
            gateway.rewrite_config("listeners: nonsense");
            reload(&gateway, is_refused);
            assert_eq!(generation(&gateway), (number - 1).to_string());
        }
        gateway.rewrite_config(&unwatched(upstream, number));
        reload(&gateway, is_reloaded);
        assert_eq!(generation(&gateway), number.to_string());
        load.next_round();
    }
    load.stop();
    let ended = gateway.terminate();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

#[test]
fn an_invalid_file_changes_nothing_and_says_why() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &unwatched(recorder.address(), 1));
    let mut kept = RawClient::connect(gateway.address(0));
    assert_eq!(kept.get("/generation").text(), "1");

    gateway.rewrite_config(&format!("{}bogus: password\n", unwatched(recorder.address(), 2)));
    let line = reload(&gateway, is_refused);
    let problems = line.text_of("problems").expect("what is wrong");
    assert!(problems.contains("unknown key `bogus`") && problems.contains("gateway.yaml:10:1"), "{problems}");
    let last = last_reload(&gateway);
    assert_eq!(last["result"], "failure");
    let error = last["error"].as_str().expect("why");
    assert!(error.contains("1 problem, the first at 10:1") && !error.contains("password"), "{error}");
    assert_eq!(kept.get("/generation").text(), "1", "on a connection from before");
    assert_eq!(generation(&gateway), "1", "on a new one");

    std::fs::remove_file(gateway.config_path()).expect("it is there");
    reload(&gateway, is_refused);
    assert_eq!(generation(&gateway), "1");

    gateway.rewrite_config(&unwatched(recorder.address(), 3));
    let line = reload(&gateway, is_reloaded);
    let changes = line.text_of("changes").expect("what changed");
    assert_eq!(
        changes,
        "upstreams: added u3, removed u1; routes: added path /only/3, removed path /only/1, changed path /generation"
    );
    assert_eq!(last_reload(&gateway)["result"], "success");
    assert_eq!(kept.get("/generation").text(), "3", "on a connection from before");
}

#[test]
fn an_address_in_use_changes_nothing() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &unwatched(recorder.address(), 1));
    let taken = recorder.address();
    for second in [
        format!("listeners: [ {{ address: \"127.0.0.1:0\" }}, {{ address: \"{taken}\" }} ]\nadmin: off"),
        format!("listeners: [ {{ address: \"127.0.0.1:0\" }} ]\nadmin: {{ address: \"{taken}\" }}"),
    ] {
        gateway.rewrite_config(&format!("{second}\nlog: {{ format: json }}\nreload: {{ watch: false }}\n"));
        let line = reload(&gateway, is_refused);
        let error = line.text_of("error").expect("why");
        assert!(error.contains(&format!("cannot listen on {taken}")), "{error}");
        assert_eq!(generation(&gateway), "1");
        assert_eq!(admin(&gateway, "/readyz").0, 200, "also where it would have been turned off");
    }
}

#[test]
fn listeners_come_and_go_and_the_others_keep_their_connections() {
    let recorder = Recorder::start();
    let upstream = recorder.address();
    let gateway = Gateway::start(BINARY, &unwatched(upstream, 1));
    let mut kept = RawClient::connect(gateway.address(0));
    assert_eq!(kept.get("/generation").text(), "1");

    let with_another = |generation| {
        let config = unwatched(upstream, generation);
        config.replace("listeners: [ ", "listeners: [ { address: \"127.0.0.2:0\" }, ")
    };
    gateway.rewrite_config(&with_another(2));
    let before = gateway.log_length();
    reload(&gateway, is_reloaded);
    let first = |line: &LogLine| line.says("listening") && line.text_of("listener").as_deref() == Some("0");
    let line = gateway.wait_for_log_after(before, "the new address", first);
    let added = line.text_of("address").expect("an address").parse().expect("an address");
    let mut moved = RawClient::connect(added);
    assert_eq!(moved.get("/generation").text(), "2");
    assert_eq!(kept.get("/generation").text(), "2", "the old listener is now the second");

    gateway.rewrite_config(&unwatched(upstream, 3));
    reload(&gateway, is_reloaded);
    assert_eq!(kept.get("/generation").text(), "3");
    wait_until_refused(added);
}

/// Waits for a reload that nothing but a change of files has caused.
fn wait_for_reload_after(gateway: &Gateway, change: impl FnOnce()) {
    let before = gateway.log_length();
    change();
    gateway.wait_for_log_after(before, "a reload", is_reloaded);
}

#[test]
fn files_written_renamed_and_linked_are_noticed() {
    let recorder = Recorder::start();
    let watched = |generation| config(recorder.address(), generation, "");
    let gateway = Gateway::start(BINARY, &watched(0));
    wait_for_reload_after(&gateway, || std::fs::write(gateway.config_path(), watched(1)).expect("writable"));
    assert_eq!(generation(&gateway), "1");
    wait_for_reload_after(&gateway, || gateway.rewrite_config(&watched(2)));
    assert_eq!(generation(&gateway), "2");

    // As a Kubernetes ConfigMap: the file is a link through a link that is swapped.
    let root = gateway.folder();
    wait_for_reload_after(&gateway, || {
        write_generation(root, 3, &watched(3));
        swap(root, "..data", "..3");
        swap(root, "gateway.yaml", "..data/gateway.yaml");
    });
    assert_eq!(generation(&gateway), "3");
    for number in 4..7 {
        wait_for_reload_after(&gateway, || {
            write_generation(root, number, &watched(number));
            swap(root, "..data", &format!("..{number}"));
        });
        assert_eq!(generation(&gateway), number.to_string());
    }
}

fn write_generation(root: &Path, number: usize, config: &str) {
    let folder = root.join(format!("..{number}"));
    std::fs::create_dir(&folder).expect("writable");
    std::fs::write(folder.join("gateway.yaml"), config).expect("writable");
}

/// Puts a link in the place of `name`, in one step.
fn swap(root: &Path, name: &str, target: &str) {
    symlink(target, root.join("new")).expect("writable");
    std::fs::rename(root.join("new"), root.join(name)).expect("writable");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_signal() {
    let place = folder();
    let authority = Authority::new("renewal");
    let first = authority.issue(place.path(), "server", &["a.test"]);
    let gateway = Gateway::start_in(
        BINARY,
        place,
        "log: { format: json }\n\
         admin: off\n\
         listeners:\n\
         - address: 127.0.0.1:0\n  \
           tls: { certificates: [ { certificate: server.pem, key: server.key } ] }\n\
         routes: [ { match: { prefix: / }, respond: { status: 200 } } ]\n",
    );
    let connect = || {
        let client = RawClient::connect_tls(gateway.address(0), "a.test", authority.client_config(&["http/1.1"]));
        client.expect("a handshake")
    };
    let mut kept = connect();
    assert_eq!(kept.server_certificate(), Some(first.der));

    let before = gateway.log_length();
    let new = authority.issue(&gateway.folder().join(""), "next", &["a.test"]);
    // Renewal tools replace the files one after the other; what is between is refused or never seen.
    std::fs::rename(&new.key, gateway.folder().join("server.key")).expect("writable");
    std::fs::rename(&new.certificate, gateway.folder().join("server.pem")).expect("writable");
    gateway.wait_for_log_after(before, "a reload", is_reloaded);
    assert_eq!(connect().server_certificate(), Some(new.der));
    assert_eq!(kept.get("/").status, 200, "a connection from before goes on");
}

#[test]
fn logs_and_the_admin_listener_change_while_the_gateway_runs() {
    let recorder = Recorder::start();
    let upstream = recorder.address();
    let gateway = Gateway::start(BINARY, &unwatched(upstream, 1));
    let logged = config(upstream, 2, "reload: { watch: false }\naccess_log: { to: access.log }");
    gateway
        .rewrite_config(&logged.replace("admin: { address: \"127.0.0.1:0\" }", "admin: { address: \"127.0.0.2:0\" }"));
    let before = gateway.log_length();
    reload(&gateway, is_reloaded);
    let line = gateway.wait_for_log_after(before, "the new address", |line| line.says("admin listening"));
    let address = line.text_of("address").expect("an address");
    assert!(address.starts_with("127.0.0.2:"), "{address}");
    wait_until_refused(gateway.admin_address());

    assert_eq!(generation(&gateway), "2");
    gateway.rewrite_config(&unwatched(upstream, 3));
    // The log that is given up is written to its end first.
    reload(&gateway, is_reloaded);
    let lines = std::fs::read_to_string(gateway.folder().join("access.log")).expect("it was written");
    assert_eq!(lines.matches("\"path\":\"/generation\"").count(), 1, "{lines}");
    assert_eq!(generation(&gateway), "3");
    let after = std::fs::read_to_string(gateway.folder().join("access.log")).expect("it is there");
    assert_eq!(after, lines, "the log was turned off");
}

#[test]
fn what_needs_a_restart_is_said() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(BINARY, &format!("workers: 1\n{}", unwatched(recorder.address(), 1)));
    gateway.rewrite_config(&format!("workers: 2\n{}", unwatched(recorder.address(), 2)));
    let before = gateway.log_length();
    reload(&gateway, is_reloaded);
    let warns = |line: &LogLine| line.text.contains("workers needs a restart");
    gateway.wait_for_log_after(before, "a warning", warns);
    assert_eq!(generation(&gateway), "2");
}
