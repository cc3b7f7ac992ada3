//! TLS by rustls: certificates chosen by server name for clients, verified connections to upstreams.
//!
//! This module turns PEM files into rustls configurations and says precisely what is wrong with them. Everything
//! happens when a configuration is built: no threads, no watching, no clock. Whoever holds the result decides when
//! to build again, and [`Fingerprint`] tells whether that would change anything.
//!
//! The cryptography is aws-lc-rs, passed to each configuration: the process-wide default provider of rustls is
//! neither read nor set, so a program that embeds a gateway keeps its own.

mod certificate;
mod client;
mod error;
mod fault;
mod files;
mod resolver;
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};

pub use self::certificate::{CertificateInfo, CertificateWarning};
pub use self::client::{ClientTls, ServerTrust};
pub use self::error::TlsError;
pub use self::fault::HandshakeFault;
pub use self::files::Fingerprint;
pub use self::server::ServerTls;

/// A certificate chain and its private key, both in PEM. The two may be the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain: the end-entity certificate first, then the intermediates in order.
    pub certificate: PathBuf,
    /// The private key of the first certificate: PKCS#8, PKCS#1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// The oldest version of TLS that is spoken. Older ones than 1.2 do not exist here (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static TLS12_UP: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &TLS12_UP,
            Self::Tls13 => &TLS12_UP[..1],
        }
    }
}

/// One provider for all configurations of the process: it is stateless and only names algorithms.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

fn owned_protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}
