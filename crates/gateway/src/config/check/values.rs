//! Single values: addresses, networks, hosts, paths of files, regular expressions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use regex::RegexBuilder;

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

/// A port that can be connected to.
pub(super) fn port(text: &str) -> Option<u16> {
    // `u16::from_str` takes a plus sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok())??;
    (port != 0).then_some(port)
}

/// A host as it stands in a URL.
#[derive(Debug, PartialEq)]
pub(super) enum Host {
    Address(IpAddr),
    /// In lower case, without a final dot.
    Name(String),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets (RFC 3986 section 3.2.2).
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        is_name(&name).then_some(Self::Name(name))
    }

    /// The host as it stands in a URL.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(address) => address.to_string(),
            Self::Name(name) => name,
        }
    }
}

/// Whether `name`, in lower case, is a DNS name (RFC 1035 section 2.3.4; underscores are in use), and not a
/// number that would pass for an address (WHATWG URL, "ends in a number").
pub(super) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let hyphens = label.starts_with('-') || label.ends_with('-');
        let byte = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=63).contains(&label.len()) && !hyphens && label.bytes().all(byte)
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

/// A regular expression that compiles within a bound, by itself and when it is anchored at both ends.
pub(super) fn regex(text: &str) -> Result<String, Flaw> {
    // `a)|(b` is an expression only between the parentheses that anchor it, and there it means something else.
    compiles(text)?;
    compiles(&format!("^(?:{text})$"))?;
    Ok(text.to_owned())
}

fn compiles(text: &str) -> Result<(), Flaw> {
    let Err(error) = RegexBuilder::new(text).size_limit(REGEX_SIZE).build() else {
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
