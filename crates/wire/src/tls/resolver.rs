//! Which certificate a client gets: by the server name that it sent (RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Identity;

/// The certificates that claim one name, in configured order. Mostly one; two when a site has an RSA and an ECDSA one.
type Candidates = Vec<Arc<CertifiedKey>>;

/// A map from names to certificates.
///
/// An exact name goes before a wildcard, a wildcard before the default. A wildcard stands for exactly one whole label
/// on the left (RFC 9525 section 6.3); one inside a label never matches, and no client would accept it.
#[derive(Debug)]
pub(super) struct ByServerName {
    exact: HashMap<Box<str>, Candidates>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<Box<str>, Candidates>,
    /// The first certificate, alone: for a client that sends no name or an unknown one.
    default: Arc<CertifiedKey>,
}

impl ByServerName {
    /// `None` without any identity.
    pub(super) fn new(identities: Vec<Identity>) -> Option<Self> {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        let mut default = None;
        for Identity { certified, info } in identities {
            let certified = Arc::new(certified);
            for name in &info.names {
                match name.strip_prefix("*.") {
                    Some(parent) => add(&mut wildcard, parent, &certified),
                    None => add(&mut exact, name, &certified),
                }
            }
            default.get_or_insert(certified);
        }
        Some(Self { exact, wildcard, default: default? })
    }

    fn candidates(&self, name: &str) -> Option<&Candidates> {
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands out the name in lower case.
        let chosen = hello
            .server_name()
            .and_then(|name| self.candidates(name))
            .and_then(|candidates| choose(candidates, hello.signature_schemes()))
            .unwrap_or(&self.default);
        Some(Arc::clone(chosen))
    }
}

fn add(map: &mut HashMap<Box<str>, Candidates>, name: &str, certified: &Arc<CertifiedKey>) {
    map.entry(name.into()).or_default().push(Arc::clone(certified));
}

/// The first certificate whose key the client can check; the first of all when there is none, so that the handshake
/// fails with the alert that says so.
fn choose<'a>(candidates: &'a Candidates, schemes: &[SignatureScheme]) -> Option<&'a Arc<CertifiedKey>> {
    match candidates.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|certified| certified.key.choose_scheme(schemes).is_some()).or(several.first()),
    }
}
