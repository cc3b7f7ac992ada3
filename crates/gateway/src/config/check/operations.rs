//! What concerns the whole process.

use std::path::Path;

use super::values::{address_of, file, socket_address};
use super::{Findings, Flaw};
use crate::authority;
use crate::config::document;
use crate::config::plan::{AccessLog, Admin, Output, Shutdown};
use crate::config::problem::{DocumentPath, Problem};
use crate::config::units::OrOff;

pub(super) fn admin(
    written: &OrOff<document::Admin>,
    at: &DocumentPath,
    found: &mut Findings,
) -> Option<Option<Admin>> {
    let Some(written) = &written.0 else {
        return Some(None);
    };
    let hosts = found.list(&at.key("hosts"), &written.hosts, |host| host_name(host));
    let at = at.key("address");
    let address = found.value(&at, socket_address(&written.address))?;
    if address.ip().is_loopback() || written.allow_remote {
        return Some(Some(Admin { address, hosts: hosts? }));
    }
    let message = format!("others can reach `{address}`, and the admin listener asks nobody who they are");
    let help = "take a loopback address such as `127.0.0.1`, or set `allow_remote: true`";
    found.error(Problem::new(at, message).help(help));
    None
}

fn host_name(text: &str) -> Result<String, Flaw> {
    match authority::parse(text.as_bytes()) {
        Ok(name) if name.port.is_none() && address_of(&name.host).is_none() => Ok(name.host.into_owned()),
        Ok(name) if name.port.is_none() => {
            Err(Flaw::new("is an address, not a name").help("leave it out: addresses are always welcome"))
        }
        _ => Err(Flaw::new(format!("`{text}` is not a host name")).help("write it like `gateway.example.test`")),
    }
}

pub(super) fn access_log(
    written: &OrOff<document::AccessLog>,
    at: &DocumentPath,
    folder: &Path,
    found: &mut Findings,
) -> Option<Option<AccessLog>> {
    let Some(written) = &written.0 else {
        return Some(None);
    };
    let to = match written.to.as_str() {
        "stdout" => Ok(Output::Stdout),
        "stderr" => Ok(Output::Stderr),
        path => file(path, folder).map(Output::File),
    };
    Some(Some(AccessLog {
        format: written.format,
        to: found.value(&at.key("to"), to)?,
        buffer: written.buffer.as_usize(),
    }))
}

pub(super) fn shutdown(written: &document::Shutdown) -> Shutdown {
    Shutdown { drain: written.drain.duration(), readiness_delay: written.readiness_delay.duration() }
}
