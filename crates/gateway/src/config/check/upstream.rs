//! Upstreams and their endpoints.

use std::collections::BTreeMap;
use std::path::Path;

use rustls::pki_types::ServerName;

use super::balance::balance;
use super::listener::certificate;
use super::values::{address_of, file};
use super::{Findings, Flaw, all, health, names};
use crate::authority;
use crate::config::document;
use crate::config::plan::{
    Certificate, Endpoint, EndpointHost, Pool, Upstream, UpstreamProtocol, UpstreamTimeouts, UpstreamTls,
};
use crate::config::problem::{DocumentPath, Problem};
use crate::config::units::Period;

/// Endpoints of the largest upstream: some choices look at all of them.
const MOST_ENDPOINTS: usize = 1024;

pub(super) fn upstreams(
    written: &BTreeMap<String, document::Upstream>,
    at: &DocumentPath,
    folder: &Path,
    found: &mut Findings,
) -> Option<Vec<Upstream>> {
    all(written.iter().map(|(name, written)| upstream(name, written, &at.key(name), folder, found)))
}

fn upstream(
    name: &str,
    written: &document::Upstream,
    at: &DocumentPath,
    folder: &Path,
    found: &mut Findings,
) -> Option<Upstream> {
    let balance = balance(&written.balance, name, &at.key("balance"), found);
    let name = found.value(at, names::upstream(name));
    let endpoints = endpoints(&written.endpoints, &at.key("endpoints"), found);
    let tls = match &written.tls {
        Some(written) => tls(written, &at.key("tls"), folder, found).map(Some),
        None => Some(None),
    };
    let protocol = protocol(written, &at.key("protocol"), found);
    let spoken = protocol.unwrap_or(written.protocol);
    let health_check = written.health_check.as_ref();
    let health_check = health_check.map(|check| health::health_check(check, spoken, &at.key("health_check"), found));
    let verified = tls.iter().flatten().any(|tls| tls.server_name.is_none());
    if let Some(endpoints) = endpoints.as_ref().filter(|_| verified) {
        named(endpoints, &at.key("endpoints"), found);
    }
    Some(Upstream {
        name: name?,
        endpoints: endpoints?,
        balance: balance?,
        slow_start: written.slow_start.0.map(Period::duration).unwrap_or_default(),
        panic_threshold: written.panic_threshold.hundredths(),
        protocol: protocol?,
        tls: tls?,
        host: written.host,
        health_check: health_check.map_or(Some(None), |check| check.map(Some))?,
        outlier: health::outlier(&written.outlier),
        endpoint_breaker: written.endpoint_breaker.is_some(),
        replay: usize::try_from(written.replay.bytes()).unwrap_or(usize::MAX),
        pool: pool(&written.pool),
        timeouts: timeouts(&written.timeouts),
    })
}

fn endpoints(written: &[document::Endpoint], at: &DocumentPath, found: &mut Findings) -> Option<Vec<Endpoint>> {
    if written.is_empty() {
        found.error(Problem::new(at.clone(), "needs at least one endpoint"));
    }
    if written.len() > MOST_ENDPOINTS {
        let message = format!("has more than {MOST_ENDPOINTS} endpoints");
        found.error(Problem::new(at.clone(), message));
    }
    let endpoints = found.list(at, written, endpoint)?;
    health::someone_serves(&endpoints, at, found);
    for (index, endpoint) in endpoints.iter().enumerate() {
        let same = |other: &Endpoint| (&other.host, other.port) == (&endpoint.host, endpoint.port);
        if endpoints[..index].iter().any(same) {
            let message = format!("the endpoint `{endpoint}` is in the list already");
            let warning = Problem::new(at.index(index), message);
            found.warn(warning.help("give an endpoint a larger share with `weight`"));
        }
    }
    Some(endpoints)
}

fn endpoint(written: &document::Endpoint) -> Result<Endpoint, Flaw> {
    let text = &written.address;
    if text.contains("://") {
        return Err(
            Flaw::new(format!("`{text}` is a URL")).help("write `host:port`; for TLS give the upstream `tls: {}`")
        );
    }
    let help = "write it like `app.internal:8080`, `10.0.0.7:80` or `[::1]:80`";
    let flaw = |why: &str| Flaw::new(format!("`{text}` is not a host with a port: {why}")).help(help);
    let authority = authority::parse(text.as_bytes()).map_err(|fault| flaw(&fault.to_string()))?;
    Ok(Endpoint {
        host: match address_of(&authority.host) {
            Some(address) => EndpointHost::Address(address),
            None => EndpointHost::Name(authority.host.into()),
        },
        port: authority.port.ok_or_else(|| flaw("there is no port"))?,
        weight: written.weight.value(),
        drain: written.drain,
        tier: u8::try_from(written.tier.value()).unwrap_or(u8::MAX),
    })
}

fn protocol(written: &document::Upstream, at: &DocumentPath, found: &mut Findings) -> Option<UpstreamProtocol> {
    if written.protocol != UpstreamProtocol::Auto || written.tls.is_some() {
        return Some(written.protocol);
    }
    let message = "`auto` needs `tls`: without it nothing negotiates the protocol";
    let help = "write `http1` or `http2`, or give the upstream `tls: {}`";
    found.error(Problem::new(at.clone(), message).help(help));
    None
}

fn tls(written: &document::UpstreamTls, at: &DocumentPath, folder: &Path, found: &mut Findings) -> Option<UpstreamTls> {
    let ca = written.ca.as_ref();
    let ca = ca.map(|path| found.value(&at.key("ca"), file(path, folder)));
    let server_name = written.server_name.as_ref();
    let server_name = server_name.map(|name| found.value(&at.key("server_name"), server_name_of(name)));
    let identity = identity(written, at, folder, found);
    if !written.verify {
        let message = "the endpoint's certificate is not verified";
        let warning = Problem::new(at.key("verify"), message);
        found.warn(warning.help("anybody on the way can read and change everything; set `ca`"));
    }
    Some(UpstreamTls {
        ca: ca.map_or(Some(None), |ca| ca.map(Some))?,
        server_name: server_name.map_or(Some(None), |name| name.map(Some))?,
        identity: identity?,
        verify: written.verify,
    })
}

fn server_name_of(text: &str) -> Result<ServerName<'static>, Flaw> {
    ServerName::try_from(text.to_owned()).map_err(|_| Flaw::new(format!("`{text}` is not a DNS name or IP address")))
}

/// Certificate and key are written together or not at all.
fn identity(
    written: &document::UpstreamTls,
    at: &DocumentPath,
    folder: &Path,
    found: &mut Findings,
) -> Option<Option<Certificate>> {
    let (present, missing) = match (&written.certificate, &written.key) {
        (None, None) => return Some(None),
        (Some(own), Some(key)) => {
            let written = document::Certificate { certificate: own.clone(), key: key.clone() };
            return certificate(&written, at, folder, found).map(Some);
        }
        (Some(_), None) => ("certificate", "key"),
        (None, Some(_)) => ("key", "certificate"),
    };
    let message = format!("`{present}` needs `{missing}` beside it");
    found.error(Problem::new(at.key(present), message));
    None
}

/// Records endpoints whose host TLS cannot verify.
fn named(endpoints: &[Endpoint], at: &DocumentPath, found: &mut Findings) {
    for (index, endpoint) in endpoints.iter().enumerate() {
        if let EndpointHost::Name(name) = &endpoint.host
            && ServerName::try_from(name.as_ref()).is_err()
        {
            let message = format!("`{name}` is not a name that a certificate can have");
            let problem = Problem::new(at.index(index), message);
            found.error(problem.help("set `tls.server_name`"));
        }
    }
}

fn pool(written: &document::Pool) -> Pool {
    let max_connections = written.max_connections.as_usize();
    Pool {
        max_connections,
        max_idle: written.max_idle.as_usize().min(max_connections),
        idle_timeout: written.idle_timeout.duration(),
        max_lifetime: written.max_lifetime.0.map(Period::duration),
        max_waiting: written.max_waiting.as_usize(),
        max_wait: written.max_wait.duration(),
    }
}

fn timeouts(written: &document::UpstreamTimeouts) -> UpstreamTimeouts {
    UpstreamTimeouts {
        connect: written.connect.duration(),
        response: written.response.0.map(Period::duration),
        body: written.body.0.map(Period::duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> Result<Endpoint, Flaw> {
        use crate::config::units::Count;
        let (weight, tier) = (Count::of(1), Count::of(0));
        endpoint(&document::Endpoint { address: address.to_owned(), weight, tier, drain: false })
    }

    #[test]
    fn endpoints_display_as_authorities() {
        for (written, shown) in [
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("[0:0::1]:8080", "[::1]:8080"),
            ("App.Internal.:80", "app.internal:80"),
            ("my_app:65535", "my_app:65535"),
        ] {
            let endpoint = parse(written).map(|endpoint| endpoint.to_string());
            assert_eq!(endpoint.as_deref(), Ok(shown), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for written in [
            "",
            "app",
            ":80",
            "app:",
            "app:0",
            "app:65536",
            "app:+80",
            "app:8 0",
            "::1:80",
            "[::1]",
            "10.0.0.256:80",
            "a..b:80",
            "app:080",
            "http://app:80",
            "app:80/",
            "user@app:80",
            "ä:80",
        ] {
            assert!(parse(written).is_err(), "{written}");
        }
    }
}
