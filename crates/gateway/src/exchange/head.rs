//! What a request asks for: its target and host read once, in the form in which they are routed,
//! checked and forwarded; what its connection-level fields want of the gateway itself.

use super::Exchange;
use crate::authority::{self, Authority};
use crate::config::plan::PathAllowances;
use crate::fault::Fault;
use crate::path::{Normal, RequestTarget, Separators, Target};
use crate::router;
use crate::snapshot::Route;
use http::Method;
use std::net::IpAddr;
use tidegate_wire::fields::Fields;
use tidegate_wire::framing::BodyLength;
use tidegate_wire::head::{RequestHead, Version, list_has, tokens};
use tidegate_wire::name::Known;
use tidegate_wire::peer::Peer;

/// The longest protocol name that an upgrade may ask for.
const MAX_PROTOCOL: usize = 64;

impl Exchange<'_> {
    /// Reads target, Host, Connection and Expect; afterwards the target is in normal form and no
    /// hop-by-hop field is left.
    pub(super) fn read_head(&mut self, peer: &mut Peer) -> Result<(), Fault> {
        let head = &mut self.scratch.request;
        self.context.close |= head.version == Version::Http10 || list_has(&head.fields, Known::Connection, "close");
        let limit = self.client.listener.plan.limits.target;
        let host = &mut self.scratch.host;
        host.clear();
        let rewritten = read_target(head, limit, host, &mut self.context.path, &mut self.context.separators)?;
        if let Some(target) = rewritten {
            head.target = target;
        }
        self.read_expectation()?;
        self.read_upgrade(peer)?;
        let head = &mut self.scratch.request;
        self.context.takes_trailers = list_has(&head.fields, Known::Te, "trailers");
        super::hygiene::remove_connection_fields(&mut head.fields);
        self.read_origin();
        Ok(())
    }

    /// RFC 9110 §10.1.1: any expectation but one is 417; from HTTP/1.0 the field is ignored.
    fn read_expectation(&mut self) -> Result<(), Fault> {
        let head = &mut self.scratch.request;
        if !head.fields.has(Known::Expect) {
            return Ok(());
        }
        if head.version != Version::Http10 {
            let alone = !head.fields.is_repeated(Known::Expect);
            let value = head.fields.value(Known::Expect).unwrap_or_default();
            if !alone || !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Fault::Expectation);
            }
            self.context.expects_continue = self.context.length != BodyLength::None;
        }
        head.fields.remove(Known::Expect);
        Ok(())
    }

    /// RFC 9110 §7.8: Upgrade counts only when Connection names it, and never in HTTP/1.0. `h2c`
    /// is no protocol that a request can be smuggled into: it is ignored as any server may.
    fn read_upgrade(&mut self, peer: &mut Peer) -> Result<(), Fault> {
        let head = &self.scratch.request;
        let asked = head.version == Version::Http11
            && head.fields.has(Known::Upgrade)
            && list_has(&head.fields, Known::Connection, "upgrade");
        if !asked || peer.as_h1().is_none() || head.fields.is_repeated(Known::Upgrade) {
            return Ok(());
        }
        let mut wanted = tokens(head.fields.value(Known::Upgrade).unwrap_or_default());
        let (Some(protocol), None) = (wanted.next(), wanted.next()) else {
            return Ok(());
        };
        if protocol.len() > MAX_PROTOCOL || !protocol.eq_ignore_ascii_case(b"websocket") {
            return Ok(());
        }
        if self.context.length != BodyLength::None {
            return Err(Fault::UpgradeBody);
        }
        if head.method == Method::GET {
            self.context.upgrade = Some(protocol.to_vec());
        }
        Ok(())
    }

    /// What the router asks about this request.
    pub(super) fn question(&self) -> Question<'_> {
        let client = self.context.origin.client();
        Question::new(&self.scratch.request, &self.scratch.host, self.context.path, client)
    }

    /// What a route demands before anything is done for the request.
    pub(super) fn admit(&mut self, route: &Route) -> Result<(), Fault> {
        admit_path(route.plan.allow, self.context.separators)?;
        // A protocol change that the route does not allow is no reason to refuse the request (RFC
        // 9110 §7.8); but what its sender may send in advance is no message.
        if !route.plan.upgrades.websocket && self.context.upgrade.take().is_some() {
            self.context.close = true;
        }
        self.context.body_limit = route.plan.max_body.on(self.client.listener.plan.limits.body);
        match (self.context.length, self.context.body_limit) {
            (BodyLength::Exact(length), Some(limit)) if length > limit => Err(Fault::BodyTooLarge),
            _ => Ok(()),
        }
    }
}

/// Refuses a path with encoded separators that its route does not allow.
pub(crate) fn admit_path(allow: PathAllowances, separators: Separators) -> Result<(), Fault> {
    let PathAllowances { encoded_slash, encoded_backslash } = allow;
    let allowed = Separators { slash: encoded_slash, backslash: encoded_backslash };
    separators.within(allowed).map_err(|_| Fault::PathEncoding)
}

/// Reads the target and the host that goes with it; returns the target where it is to be changed.
pub(crate) fn read_target(
    head: &RequestHead,
    limit: usize,
    host_text: &mut String,
    path_length: &mut usize,
    separators: &mut Separators,
) -> Result<Option<Vec<u8>>, Fault> {
    if head.method == Method::CONNECT {
        return Err(Fault::TargetForm);
    }
    let target = RequestTarget::parse(&head.target, limit).map_err(Fault::Target)?;
    let host = read_host(&head.fields, head.version)?;
    let authority = match &target.form {
        Target::Origin => None,
        Target::Absolute { authority, .. } => Some(authority),
        Target::Asterisk | Target::Authority(_) => return Err(Fault::TargetForm),
    };
    // RFC 9112 §3.2.2 lets the target win over Host; where they differ, some server behind would
    // let Host win, so a difference is refused.
    match (authority, &host) {
        (Some(authority), Some(host)) if authority != host => return Err(Fault::Host),
        (Some(one), _) | (None, Some(one)) => host_text.push_str(&one.host),
        (None, None) => {}
    }
    let normal = target.normalize().map_err(Fault::Target)?;
    *separators = normal.separators;
    let unchanged = authority.is_none() && normal.form == Normal::Same;
    let path = normal.as_str(target.path);
    *path_length = path.len();
    let rewritten = (!unchanged).then(|| {
        let mut bytes = path.as_bytes().to_vec();
        if let Some(query) = target.query {
            bytes.push(b'?');
            bytes.extend_from_slice(query.as_bytes());
        }
        bytes
    });
    Ok(rewritten)
}

/// RFC 9112 §3.2: exactly one valid Host; only HTTP/1.0 may leave it out.
fn read_host(fields: &Fields, version: Version) -> Result<Option<Authority<'_>>, Fault> {
    if fields.is_repeated(Known::Host) {
        return Err(Fault::Host);
    }
    match fields.value(Known::Host) {
        Some(value) => authority::parse(value).map(Some).map_err(|_| Fault::Host),
        None if version == Version::Http10 => Ok(None),
        None => Err(Fault::Host),
    }
}

/// A request as the router sees it.
pub(crate) struct Question<'a> {
    head: &'a RequestHead,
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    client: IpAddr,
}

impl<'a> Question<'a> {
    /// About a request whose target is in normal form, the first `path` bytes of it being its path.
    pub(crate) fn new(head: &'a RequestHead, host: &'a str, path: usize, client: IpAddr) -> Self {
        let (path, rest) = head.target.split_at(path);
        Self {
            head,
            host,
            path: str::from_utf8(path).unwrap_or_default(),
            query: rest.strip_prefix(b"?").and_then(|query| str::from_utf8(query).ok()),
            client,
        }
    }
}

impl router::Request for Question<'_> {
    fn host(&self) -> &str {
        self.host
    }

    fn path(&self) -> &str {
        self.path
    }

    fn method(&self) -> &Method {
        &self.head.method
    }

    fn query(&self) -> Option<&str> {
        self.query
    }

    fn header(&self, name: &http::HeaderName) -> impl Iterator<Item = &[u8]> {
        let name = name.clone();
        self.head
            .fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_str().as_bytes()))
            .map(|field| field.value)
    }

    fn client(&self) -> IpAddr {
        self.client
    }
}
