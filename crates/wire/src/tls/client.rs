//! The client side: TLS to upstreams, verified unless somebody wrote that it should not be.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::{CertificateInfo, Identity};
use super::error::TlsError;
use super::files::{self, Digest, Fingerprint};
use super::{CertificateFiles, MinVersion, owned_protocols, provider};

/// Upstream names whose sessions are remembered for resumption, each with a handful of tickets.
const REMEMBERED_SERVERS: usize = 256;

/// Whom to believe that an upstream is who it says.
///
/// Reading roots is the slow part of building a client side; one value serves any number of upstreams.
#[derive(Clone)]
pub struct ServerTrust(Trust);

#[derive(Clone)]
enum Trust {
    Roots { store: Arc<RootCertStore>, fingerprint: Option<Fingerprint> },
    Anyone,
}

impl ServerTrust {
    /// The roots that the operating system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` override where they are.
    ///
    /// Roots that cannot be parsed are left out, as every system has some.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoSystemRoots`] when none is left.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoSystemRoots { reason: reasons.join("; ") });
        }
        Ok(Self(Trust::Roots { store: Arc::new(store), fingerprint: None }))
    }

    /// The certificates in the PEM file at `path`, and no others.
    ///
    /// These are authorities. A self-signed server certificate can be listed too, as long as it is not marked as an
    /// authority itself: no certificate may be both (RFC 5280 section 4.2.1.9, as webpki reads it).
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the file cannot be read or any certificate in it cannot be understood.
    pub fn from_file(path: &Path) -> Result<Self, TlsError> {
        let mut digest = Digest::new();
        let bytes = digest.read(path)?;
        let mut store = RootCertStore::empty();
        for certificate in files::certificates(path, &bytes)? {
            store
                .add(certificate)
                .map_err(|error| TlsError::BadCertificate { path: path.to_owned(), reason: error.to_string() })?;
        }
        Ok(Self(Trust::Roots { store: Arc::new(store), fingerprint: Some(digest.fingerprint()) }))
    }

    /// Whoever answers. The connection is encrypted, but anyone on the way to the upstream can be at its other end.
    pub fn anyone() -> Self {
        Self(Trust::Anyone)
    }

    /// Of the file that the roots came from, to compare with [`Fingerprint::of`]; none without a file.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.0 {
            Trust::Roots { fingerprint, .. } => *fingerprint,
            Trust::Anyone => None,
        }
    }
}

impl fmt::Debug for ServerTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Trust::Roots { store, .. } => write!(f, "ServerTrust({} roots)", store.len()),
            Trust::Anyone => f.write_str("ServerTrust(anyone)"),
        }
    }
}

/// A built client side, shared by all workers.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// For `tokio_rustls::TlsConnector`.
    pub config: Arc<ClientConfig>,
    /// The certificate shown to upstreams that ask for one.
    pub certificate: Option<CertificateInfo>,
    /// Of the certificate and key, to compare with [`Fingerprint::of`] over both paths.
    pub fingerprint: Option<Fingerprint>,
}

impl ClientTls {
    /// Builds the configuration for upstreams that `trust` vouches for.
    ///
    /// `identity` is shown to an upstream that asks for a client certificate. `alpn` lists the protocols to offer by
    /// preference.
    ///
    /// # Errors
    ///
    /// [`TlsError`] about the files of `identity`.
    pub fn build(trust: &ServerTrust, identity: Option<&CertificateFiles>, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = provider();
        let mut digest = Digest::new();
        let identity = identity.map(|files| Identity::load(files, &mut digest, &provider)).transpose()?;
        let certificate = identity.as_ref().map(|identity| identity.info.clone());
        let fingerprint = identity.as_ref().map(|_| digest.fingerprint());
        Ok(Self { config: Arc::new(configure(trust, identity, alpn, provider)?), certificate, fingerprint })
    }
}

fn configure(
    trust: &ServerTrust,
    identity: Option<Identity>,
    alpn: &[&[u8]],
    provider: Arc<CryptoProvider>,
) -> Result<ClientConfig, TlsError> {
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(MinVersion::Tls12.versions())
        .map_err(TlsError::Settings)?;
    let verified = match &trust.0 {
        Trust::Roots { store, .. } => versions.with_root_certificates(Arc::clone(store)),
        Trust::Anyone => versions.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAnyone(provider))),
    };
    let mut config = match identity {
        Some(identity) => verified.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified))),
        None => verified.with_no_client_auth(),
    };
    config.alpn_protocols = owned_protocols(alpn);
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_SERVERS);
    Ok(config)
}

/// Accepts every certificate, for upstreams whose operators asked for it.
///
/// The signature over the handshake is still checked, so the peer does hold the key of the certificate it shows; who
/// issued that certificate, for which name, and whether it expired are not looked at.
#[derive(Debug)]
struct AcceptAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
