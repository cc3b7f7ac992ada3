//! Load by public tools, and what they report: wrk for HTTP/1.1, h2load for HTTP/2.

use std::process::Command;
use std::time::Duration;

use super::scenario::{FIELDS, Protocol, STREAMS, Scenario};
use crate::Outcome;
use crate::process::{output, root};

/// What the tool counted in one turn.
#[derive(Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) time: Duration,
    /// Bytes received.
    pub(super) bytes: u64,
    /// Requests without an answer of the 200 class, and connection errors.
    pub(super) failures: u64,
    /// The median and the 99th percentile of the latency, from wrk.
    pub(super) latency: Option<[Duration; 2]>,
}

/// Puts load on a port for some time, from the given cores.
pub(super) fn run(scenario: &Scenario, port: u16, time: Duration, cores: &str) -> Outcome<Counted> {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(cores);
    let parse = match scenario.protocol {
        Protocol::Http1 | Protocol::TlsHttp1 => wrk(&mut command, scenario, time),
        Protocol::TlsHttp2 => h2load(&mut command, scenario, time),
    };
    for field in FIELDS {
        command.args(["-H", field]);
    }
    let scheme = if scenario.protocol == Protocol::Http1 { "http" } else { "https" };
    command.arg(format!("{scheme}://127.0.0.1:{port}{}", scenario.path));
    let text = output(&mut command)?;
    Ok(parse(&text, time).ok_or_else(|| format!("figures not understood:\n{text}"))?)
}

type Parse = fn(&str, Duration) -> Option<Counted>;

/// One thread, which is what fills one core. The script sets the request and prints the figures.
fn wrk(command: &mut Command, scenario: &Scenario, time: Duration) -> Parse {
    let method = if scenario.request_bytes == 0 { "GET" } else { "POST" };
    command.env("BENCH_METHOD", method).env("BENCH_BODY_BYTES", scenario.request_bytes.to_string());
    command.args(["wrk", "-t", "1", "--timeout", "10s", "-c", &scenario.connections.to_string()]);
    command.args(["-d", &format!("{}s", time.as_secs()), "-s"]).arg(root().join("bench/wrk.lua"));
    wrk_figures
}

fn h2load(command: &mut Command, scenario: &Scenario, time: Duration) -> Parse {
    command.args(["h2load", "-t", "1", "-c", &scenario.connections.to_string(), "-m", &STREAMS.to_string()]);
    command.args(["-D", &time.as_secs().to_string()]);
    h2load_figures
}

/// The line that `bench/wrk.lua` prints; times in microseconds.
fn wrk_figures(text: &str, _: Duration) -> Option<Counted> {
    let line = text.lines().find_map(|line| line.strip_prefix("figures "))?;
    let figures: Vec<u64> = line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [requests, time, bytes, failures, median, high] = figures.try_into().ok()?;
    let [time, median, high] = [time, median, high].map(Duration::from_micros);
    Some(Counted { requests, time, bytes, failures, latency: Some([median, high]) })
}

/// `requests: 9 total, 9 started, 8 done, 7 succeeded, ...`, `status codes: 7 2xx, ...`, `traffic:
/// 1.2KB (1234) total`.
fn h2load_figures(text: &str, time: Duration) -> Option<Counted> {
    let line = |head: &str| text.lines().find_map(|line| line.strip_prefix(head));
    let number_before = |line: &str, word: &str| -> Option<u64> {
        let part = line.split(',').find(|part| part.trim_end().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    let (requests, statuses) = (line("requests:")?, line("status codes:")?);
    let done = number_before(requests, "done")?;
    let good = number_before(statuses, "2xx")?;
    let errors = number_before(requests, "errored")? + number_before(requests, "timeout")?;
    let bytes = line("traffic:")?.split(['(', ')']).nth(1)?.parse().ok()?;
    Some(Counted { requests: done, time, bytes, failures: done.saturating_sub(good) + errors, latency: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_wrk() {
        let text = "Running 2s test @ http://127.0.0.1:1/\nfigures 100 2000000 4096 3 250 900\n";
        let counted = wrk_figures(text, Duration::ZERO).expect("figures");
        assert_eq!((counted.requests, counted.failures, counted.bytes), (100, 3, 4096));
        assert_eq!(counted.time, Duration::from_secs(2));
        assert_eq!(counted.latency, Some([250, 900].map(Duration::from_micros)));
        assert_eq!(wrk_figures("unable to connect", Duration::ZERO), None);
    }

    #[test]
    fn figures_of_h2load() {
        let text = "\
finished in 2.01s, 100.00 req/s, 9.00KB/s
requests: 210 total, 208 started, 205 done, 203 succeeded, 2 failed, 1 errored, 1 timeout
status codes: 203 2xx, 0 3xx, 2 4xx, 0 5xx
traffic: 12.21KB (12500) total, 1.10KB (1126) headers (space savings 90.00%), 8.00KB (8192) data
";
        let counted = h2load_figures(text, Duration::from_secs(2)).expect("figures");
        assert_eq!((counted.requests, counted.failures, counted.bytes), (205, 4, 12500));
        assert_eq!(counted.latency, None);
    }
}
