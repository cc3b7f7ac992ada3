//! Listeners.

use std::path::Path;

use super::values::{file, network, socket_address};
use super::{Findings, Flaw, all};
use crate::config::document::{self, Document};
use crate::config::plan::{
    Certificate, Http2, Limits, Listener, ListenerTimeouts, ListenerTls, MinimumRate, Ping, ProxyProtocol,
};
use crate::config::problem::{DocumentPath, Problem};
use crate::config::units::Size;

pub(super) fn listeners(
    document: &Document,
    at: &DocumentPath,
    folder: &Path,
    found: &mut Findings,
) -> Option<Vec<Listener>> {
    let written = &document.listeners;
    if written.is_empty() {
        found.error(Problem::new(at.clone(), "needs at least one listener"));
    }
    let numbered = written.iter().enumerate();
    let plans = all(numbered.map(|(index, written)| listener(written, &at.index(index), folder, found)))?;
    let unique = unique_addresses(&plans, at, found);
    unique.then_some(plans)
}

/// Whether no address is written twice; port 0 is another port each time.
fn unique_addresses(listeners: &[Listener], at: &DocumentPath, found: &mut Findings) -> bool {
    let mut unique = true;
    for (index, listener) in listeners.iter().enumerate() {
        let address = listener.address;
        let earlier = listeners[..index].iter().any(|l| l.address == address);
        if earlier && address.port() != 0 {
            let place = at.index(index).key("address");
            let message = format!("another listener has the address `{address}` already");
            found.error(Problem::new(place, message));
            unique = false;
        }
    }
    unique
}

fn listener(written: &document::Listener, at: &DocumentPath, folder: &Path, found: &mut Findings) -> Option<Listener> {
    let address = found.value(&at.key("address"), socket_address(&written.address));
    let tls = written.tls.as_ref();
    let tls = tls.map(|written| tls_plan(written, &at.key("tls"), folder, found));
    let proxy_protocol = written.proxy_protocol.as_ref();
    let proxy_protocol = proxy_protocol.map(|written| proxy_plan(written, &at.key("proxy_protocol"), found));
    let trusted = at.key("trusted_proxies");
    let trusted_proxies = found.list(&trusted, &written.trusted_proxies, |text| network(text));
    for (index, network) in trusted_proxies.iter().flatten().enumerate() {
        if network.prefix_len() == 0 {
            let message = "trusts everybody: any client can claim any address";
            found.warn(Problem::new(trusted.index(index), message));
        }
    }
    let limits = limits(&written.limits);
    Some(Listener {
        address: address?,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        proxy_protocol: proxy_protocol.map_or(Some(None), |proxy| proxy.map(Some))?,
        trusted_proxies: trusted_proxies?,
        rate_limits: Vec::new(),
        timeouts: timeouts(&written.timeouts),
        http2: http2(&written.http2, limits.head),
        limits,
    })
}

fn tls_plan(
    written: &document::ListenerTls,
    at: &DocumentPath,
    folder: &Path,
    found: &mut Findings,
) -> Option<ListenerTls> {
    let at = at.key("certificates");
    if written.certificates.is_empty() {
        found.error(Problem::new(at.clone(), "needs at least one certificate"));
    }
    let numbered = written.certificates.iter().enumerate();
    let certificates = numbered.map(|(index, written)| certificate(written, &at.index(index), folder, found));
    Some(ListenerTls { certificates: all(certificates)?, min_version: written.min_version })
}

pub(super) fn certificate(
    written: &document::Certificate,
    at: &DocumentPath,
    folder: &Path,
    found: &mut Findings,
) -> Option<Certificate> {
    let certificate = found.value(&at.key("certificate"), file(&written.certificate, folder));
    let key = found.value(&at.key("key"), file(&written.key, folder));
    Some(Certificate { certificate: certificate?, key: key? })
}

fn proxy_plan(written: &document::ProxyProtocol, at: &DocumentPath, found: &mut Findings) -> Option<ProxyProtocol> {
    let at = at.key("trusted");
    let trusted = found.list(&at, &written.trusted, |text| network(text));
    let trusted = trusted.and_then(|trusted| {
        let flaw = Flaw::new("needs at least one network");
        found.value(&at, (!trusted.is_empty()).then_some(trusted).ok_or(flaw))
    });
    Some(ProxyProtocol { trusted: trusted? })
}

fn limits(written: &document::Limits) -> Limits {
    let head = written.head.as_usize();
    Limits {
        connections: written.connections.as_usize(),
        head,
        fields: written.fields.as_usize(),
        target: written.target.as_usize().min(head),
        body: written.body.0.map(Size::bytes),
        requests_per_connection: written.requests_per_connection.0.map(|count| count.value().into()),
    }
}

fn timeouts(written: &document::ListenerTimeouts) -> ListenerTimeouts {
    let rate = |rate: &document::BodyRate| MinimumRate { minimum: rate.minimum.bytes(), grace: rate.grace.duration() };
    ListenerTimeouts {
        handshake: written.handshake.duration(),
        head: written.head.duration(),
        keep_alive: written.keep_alive.duration(),
        body: written.body.duration(),
        body_rate: written.body_rate.0.as_ref().map(rate),
        linger: written.linger.duration(),
        tunnel: written.tunnel.duration(),
    }
}

fn http2(written: &document::Http2, head: usize) -> Http2 {
    let ping = |ping: &document::Ping| Ping { interval: ping.interval.duration(), timeout: ping.timeout.duration() };
    Http2 {
        max_concurrent_streams: written.max_concurrent_streams.value(),
        initial_stream_window: written.initial_stream_window.as_u32(),
        initial_connection_window: written.initial_connection_window.as_u32(),
        max_frame_size: written.max_frame_size.as_u32(),
        max_resets: written.max_resets.as_usize(),
        max_header_list: match written.max_header_list {
            Some(size) => size.as_u32(),
            None => u32::try_from(head).unwrap_or(u32::MAX),
        },
        keep_alive: written.keep_alive.0.as_ref().map(ping),
    }
}
