//! Health checks and ejection.

use super::{Findings, Flaw};
use crate::authority;
use crate::config::document;
use crate::config::plan::{Endpoint, HealthCheck, Outlier, Probe, SuccessRate, UpstreamProtocol};
use crate::config::problem::{DocumentPath, Problem};
use crate::config::units::{Count, OrOff, Statuses};

/// Bytes of the longest path that is asked for, and of the longest name of a gRPC service.
const LONGEST: usize = 1024;

pub(super) fn health_check(
    written: &document::HealthCheck,
    protocol: UpstreamProtocol,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<HealthCheck> {
    let probe = probe(written, protocol, at, found);
    let interval = written.interval.duration();
    Some(HealthCheck {
        probe: probe?,
        interval,
        max_interval: written.max_interval.duration().max(interval),
        timeout: written.timeout.duration(),
        unhealthy_after: written.unhealthy_after.value(),
        healthy_after: written.healthy_after.value(),
    })
}

/// The one kind of probe that is written.
fn probe(
    written: &document::HealthCheck,
    protocol: UpstreamProtocol,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<Probe> {
    let kinds = [written.path.is_some(), written.tcp.is_some(), written.grpc.is_some()];
    match kinds.into_iter().filter(|kind| *kind).count() {
        1 => {}
        0 => {
            let problem = Problem::new(at.clone(), "has none of `path`, `tcp` and `grpc`");
            found.error(problem.help("write `path: /health`, `tcp: {}` or `grpc: {}`"));
            return None;
        }
        _ => {
            found.error(Problem::new(at.clone(), "has more than one of `path`, `tcp` and `grpc`"));
            return None;
        }
    }
    if let Some(path) = &written.path {
        return http(path, written, at, found);
    }
    let alone = of_http_alone(written, at, found);
    let probe = match &written.grpc {
        None => Some(Probe::Tcp),
        Some(grpc) => call(grpc, protocol, &at.key("grpc"), found),
    };
    alone.and(probe)
}

fn http(path: &str, written: &document::HealthCheck, at: &DocumentPath, found: &mut Findings) -> Option<Probe> {
    let path = found.value(&at.key("path"), target(path));
    let host = written.host.as_ref().map(|host| found.value(&at.key("host"), host_of(host)));
    let expect = match written.expect.is_empty() {
        true => vec![Statuses::of(200, 299)],
        false => written.expect.clone(),
    };
    Some(Probe::Http {
        path: path?.into(),
        host: host.map_or(Some(None), |host| host.map(Some))?.map(Into::into),
        method: written.method.unwrap_or_default(),
        expect,
    })
}

/// A request target that may be sent as it is: a path, and perhaps a query.
fn target(text: &str) -> Result<String, Flaw> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if text.starts_with('/') && is_plain && text.len() <= LONGEST {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("`{}` is not a path to ask for", text.escape_debug()));
    Err(flaw.help("write it like `/health` or `/health?deep=1`, other characters as `%20`"))
}

fn host_of(text: &str) -> Result<String, Flaw> {
    match authority::parse(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(fault) => Err(Flaw::new(format!("`{text}` is not a host: {fault}"))),
    }
}

/// Records options of HTTP probes beside another kind of probe.
fn of_http_alone(written: &document::HealthCheck, at: &DocumentPath, found: &mut Findings) -> Option<()> {
    let options = [
        ("host", written.host.is_some()),
        ("method", written.method.is_some()),
        ("expect", !written.expect.is_empty()),
    ];
    let mut alone = Some(());
    for (name, _) in options.into_iter().filter(|(_, is_written)| *is_written) {
        found.error(Problem::new(at.key(name), format!("`{name}` is of use with `path` only")));
        alone = None;
    }
    alone
}

fn call(
    written: &document::GrpcCheck,
    protocol: UpstreamProtocol,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<Probe> {
    if protocol == UpstreamProtocol::Http1 {
        let problem = Problem::new(at.clone(), "gRPC is spoken over HTTP/2, and this upstream speaks HTTP/1");
        found.error(problem.help("set `protocol: http2` for the upstream"));
        return None;
    }
    if written.service.len() > LONGEST {
        found.error(Problem::new(at.key("service"), format!("is longer than {LONGEST} bytes")));
        return None;
    }
    Some(Probe::Grpc { service: written.service.as_str().into() })
}

/// Every value is in its range already; the longest ejection is at least the first one.
pub(super) fn outlier(written: &OrOff<document::Outlier>) -> Option<Outlier> {
    let written = written.0.as_ref()?;
    let base_ejection = written.base_ejection.duration();
    Some(Outlier {
        consecutive_failures: written.consecutive_failures.0.map(Count::value),
        failure_statuses: written.failure_statuses.clone(),
        max_ejected: written.max_ejected.hundredths(),
        base_ejection,
        max_ejection: written.max_ejection.duration().max(base_ejection),
        success_rate: written.success_rate.0.as_ref().map(success_rate),
    })
}

fn success_rate(written: &document::SuccessRate) -> SuccessRate {
    SuccessRate {
        interval: written.interval.duration(),
        min_hosts: written.min_hosts.as_usize(),
        min_requests: u64::from(written.min_requests.value()),
        stdev_factor: written.stdev_factor.value(),
    }
}

/// Records an upstream whose endpoints all drain.
pub(super) fn someone_serves(endpoints: &[Endpoint], at: &DocumentPath, found: &mut Findings) {
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.drain) {
        let problem = Problem::new(at.clone(), "every endpoint drains, so that none is left for requests");
        found.error(problem.help("let the routes answer by themselves: `respond: { status: 503 }`"));
    }
}
