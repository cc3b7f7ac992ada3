//! Single values: addresses, networks, paths of files, names of fields, regular expressions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::HeaderName;
use ipnet::IpNet;
use regex::bytes::RegexBuilder;

use super::Flaw;

/// Memory that one compiled expression may take, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// An IP address and port to listen on.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, Flaw> {
    text.parse().map_err(|_| {
        let flaw = Flaw::new(format!("`{text}` is not an IP address with a port"));
        match text.rsplit_once(':') {
            Some(("", port)) => flaw.help(format!(
                "write `0.0.0.0:{port}` for every IPv4 address, `127.0.0.1:{port}` for this machine alone"
            )),
            Some(("localhost", port)) => flaw.help(format!("write `127.0.0.1:{port}`")),
            _ => flaw.help("write it like `127.0.0.1:8080` or `[::1]:8080`"),
        }
    })
}

/// A network, or an address as the network of itself alone.
pub(super) fn network(text: &str) -> Result<IpNet, Flaw> {
    let network: IpNet = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        Flaw::new(format!("`{text}` is not a network"))
            .help("write it like `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.7`")
    })?;
    if network.trunc() != network {
        let base = network.trunc();
        return Err(
            Flaw::new(format!("`{text}` has bits set behind its prefix length")).help(format!("write `{base}`"))
        );
    }
    Ok(network)
}

/// A path, relative ones joined to `folder`.
pub(super) fn file(text: &str, folder: &Path) -> Result<PathBuf, Flaw> {
    if text.is_empty() || text.contains('\0') {
        return Err(Flaw::new("is not the path of a file"));
    }
    Ok(folder.join(text))
}

/// The address that a host is, in the spelling of [`authority::parse`](crate::authority::parse); `None` for a name.
pub(super) fn address_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}

/// A field's name, which is a token (RFC 9110 section 5.1).
pub(super) fn field_name(text: &str) -> Result<HeaderName, Flaw> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Flaw::new(format!("`{}` is not a field name", text.escape_debug())))
}

/// What a regular expression is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Normal paths, which are ASCII, so that classes such as `\w` need not know Unicode.
    Path,
    /// Values of fields and parameters.
    Value,
}

/// A regular expression that compiles within a bound, by itself and when it is anchored at both ends.
pub(super) fn regex(text: &str, subject: Subject) -> Result<String, Flaw> {
    // `a)|(b` is an expression only between the parentheses that anchor it, and there it means something else.
    compiles(text, subject)?;
    compiles(&format!("\\A(?:{text})\\z"), subject)?;
    Ok(text.to_owned())
}

fn compiles(text: &str, subject: Subject) -> Result<(), Flaw> {
    let unicode = subject == Subject::Value;
    let Err(error) = RegexBuilder::new(text).unicode(unicode).size_limit(REGEX_SIZE).build() else {
        return Ok(());
    };
    let error = match error {
        regex::Error::CompiledTooBig(bytes) => format!("it takes more than {bytes} bytes compiled"),
        error => error.to_string(),
    };
    // A syntax error draws the expression over several lines and ends with the reason.
    let reason = error.rsplit("error: ").next().unwrap_or(&error);
    let message = format!("is not a regular expression that can be used: {reason}");
    Err(Flaw::new(message))
}
