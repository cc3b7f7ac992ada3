//! The server side: what a listener needs to speak TLS with clients.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ServerSessionMemoryCache;

use super::certificate::{CertificateInfo, Identity};
use super::error::TlsError;
use super::files::{Digest, Fingerprint};
use super::resolver::ByServerName;
use super::{CertificateFiles, MinVersion, owned_protocols, provider};

/// Sessions kept for clients of TLS 1.2 that cannot hold a ticket themselves. Everybody else resumes by ticket, which
/// costs the server nothing, so a small number is plenty; an entry is a few hundred bytes.
const STORED_SESSIONS: usize = 1024;

/// Tickets sent after a full handshake in TLS 1.3. They are used once (RFC 8446 appendix C.4), and a browser opens
/// connections in pairs. Nothing is kept for them here; sending one costs microseconds and some 200 bytes.
const TICKETS: usize = 2;

/// A built server side, shared by all workers.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// For `tokio_rustls::TlsAcceptor`.
    pub config: Arc<ServerConfig>,
    /// The certificates in configured order; the first is the default.
    pub certificates: Vec<CertificateInfo>,
    /// Of all the files it was built from; compare with [`ServerTls::fingerprint_of`].
    pub fingerprint: Fingerprint,
}

impl ServerTls {
    /// Reads the files and builds the configuration.
    ///
    /// A client gets the certificate with its server name, or else the first one. Several certificates may claim one
    /// name: the first whose key type the client supports is used. `alpn` lists protocols by preference, `h2` and
    /// `http/1.1` for example; a client that offers only others is refused (RFC 7301 section 3.2), one that offers
    /// none is served.
    ///
    /// Sessions resume by ticket, under keys that rotate every six hours and die with this value. Early data is
    /// never accepted: it can be replayed (RFC 8470).
    ///
    /// # Errors
    ///
    /// [`TlsError`], about the first file that is wrong. An expired certificate is no error: see
    /// [`CertificateInfo::warning`].
    pub fn build(certificates: &[CertificateFiles], min_version: MinVersion, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = provider();
        let mut digest = Digest::new();
        let identities = certificates
            .iter()
            .map(|files| Identity::load(files, &mut digest, &provider))
            .collect::<Result<Vec<_>, _>>()?;
        let infos = identities.iter().map(|identity| identity.info.clone()).collect();
        let resolver = ByServerName::new(identities).ok_or(TlsError::NoServerCertificate)?;
        Ok(Self {
            config: Arc::new(configure(resolver, min_version, alpn)?),
            certificates: infos,
            fingerprint: digest.fingerprint(),
        })
    }

    /// The fingerprint that [`ServerTls::build`] would have now.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when a file cannot be read.
    pub fn fingerprint_of(certificates: &[CertificateFiles]) -> Result<Fingerprint, TlsError> {
        let paths = certificates.iter().flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
        Fingerprint::of(paths.collect::<Vec<&Path>>())
    }
}

fn configure(resolver: ByServerName, min_version: MinVersion, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(min_version.versions())
        .map_err(TlsError::Settings)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = owned_protocols(alpn);
    config.ticketer = Ticketer::new().map_err(TlsError::Settings)?;
    config.session_storage = ServerSessionMemoryCache::new(STORED_SESSIONS);
    config.send_tls13_tickets = TICKETS;
    config.max_early_data_size = 0;
    Ok(config)
}
