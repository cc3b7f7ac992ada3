//! `tidegate demo`: a gateway with something behind it and something to look at, in one process.

mod samples;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;

use crate::config::{self, Format, Loaded};
use crate::logging;
use crate::process::{Failure, Service, Signal, Signals, Sockets, control};

use samples::Ports;

/// Where the demo listens where it can.
const PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9901;

const CONFIGURATION: &str = include_str!("gateway.yaml");
const PAGE: &str = include_str!("page.html");

/// Runs until a signal ends it, or for that long.
///
/// # Errors
///
/// When it cannot begin to.
pub(crate) fn run(at_most: Option<Duration>) -> Result<(), Failure> {
    control(async move {
        let mut signals = Signals::listen().context("signals")?;
        let (listener, admin_listener) = (bind(PORT)?, bind(ADMIN_PORT)?);
        let (address, admin_address) = (address_of(&listener)?, address_of(&admin_listener)?);
        let (port, admin) = (address.port(), admin_address.port());
        let samples = samples::start().await.context("the sample services")?;
        let Loaded { plan, .. } = load(port, admin, samples).map_err(Failure::Configuration)?;
        logging::start(&plan.log, std::env::var(logging::OVERRIDE).ok().as_deref())?;
        let listeners = vec![(address, vec![listener])];
        let service = Service::start(plan, Sockets { listeners, admin: Some((admin_address, admin_listener)) })?;
        print(&welcome(port, admin));
        tokio::select! {
            () = asked_to_end(&mut signals) => {}
            () = tokio::time::sleep(at_most.unwrap_or(Duration::MAX)) => {}
        }
        tokio::select! {
            () = service.drain() => {}
            () = asked_to_end(&mut signals) => {}
        }
        print("\nThe demo has ended.\n");
        Ok(())
    })
}

async fn asked_to_end(signals: &mut Signals) {
    while signals.next().await != Signal::End {}
}

/// A socket on the wanted port, or on any other that nobody uses.
fn bind(wanted: u16) -> anyhow::Result<TcpListener> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(wanted).or_else(|_| bind(0)).context("no port is free")
}

fn address_of(listener: &TcpListener) -> anyhow::Result<SocketAddr> {
    listener.local_addr().context("a socket without an address")
}

fn load(port: u16, admin: u16, samples: Ports) -> Result<Loaded, config::Diagnostics> {
    let variable = |name: &str| match name {
        "PORT" => Some(port.to_string()),
        "ADMIN_PORT" => Some(admin.to_string()),
        "FAST" => Some(samples.fast.to_string()),
        "SLOW" => Some(samples.slow.to_string()),
        "FLAKY" => Some(samples.flaky.to_string()),
        "PAGE" => Some(page(port, admin)),
        _ => None,
    };
    config::load_str("demo", CONFIGURATION, Format::Yaml, &variable)
}

fn page(port: u16, admin: u16) -> String {
    let configuration = CONFIGURATION.replace('&', "&amp;").replace('<', "&lt;");
    PAGE.replace("{{port}}", &port.to_string())
        .replace("{{admin}}", &admin.to_string())
        .replace("{{configuration}}", &configuration)
}

fn welcome(port: u16, admin: u16) -> String {
    let other = |wanted, port| if wanted == port { String::new() } else { format!("   ({wanted} is in use)") };
    let (other_port, other_admin) = (other(PORT, port), other(ADMIN_PORT, admin));
    format!(
        "\
Tidegate runs, with three small services behind it.

  to look at   http://127.0.0.1:{port}/{other_port}
  admin        http://127.0.0.1:{admin}/{other_admin}

  to try       curl -i http://127.0.0.1:{port}/fast/hello
               curl -N http://127.0.0.1:{port}/slow/stream
               curl -i http://127.0.0.1:{port}/impatient
               for i in 1 2 3; do curl -i http://127.0.0.1:{port}/flaky; done
               for i in 1 2 3; do curl -i http://127.0.0.1:{port}/sturdy; done
               for i in 1 2 3 4; do curl -i http://127.0.0.1:{port}/limited; done

Ctrl-C ends it. Below is the access log.

"
    )
}

/// Writes to standard output. Where that is closed, nobody wants to read it.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use tidegate_gateway::config::plan::Action;

    use super::*;

    #[test]
    fn the_configuration_is_valid_and_shows_the_page_with_its_ports() {
        let loaded = load(8081, 9902, Ports { fast: 1, slow: 2, flaky: 3 }).expect("valid");
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert_eq!(loaded.plan.listeners[0].address.port(), 8081);
        let Action::Respond(page) = &loaded.plan.routes[0].action else { panic!("the page comes first") };
        let page = String::from_utf8_lossy(&page.body);
        assert!(page.contains("http://127.0.0.1:8081/fast/hello") && page.contains("http://127.0.0.1:9902/"));
        assert!(page.contains("address: 127.0.0.1:${PORT}") && !page.contains("{{"), "{page}");
    }

    #[test]
    fn a_port_in_use_is_replaced_and_said() {
        let taken = bind(0).expect("a free port");
        let address = |listener| address_of(listener).expect("bound");
        assert_ne!(address(&bind(address(&taken).port()).expect("another")), address(&taken));
        assert!(welcome(PORT, 1).contains("(9901 is in use)"));
        assert!(!welcome(PORT, ADMIN_PORT).contains("in use"));
    }
}
