//! What can be wrong with TLS files and settings, each with the file it is about.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a TLS configuration could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any certificate chain or key.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is read, in bytes.
        limit: u64,
    },
    /// The file holds no PEM section at all; often it is DER.
    NotPem {
        /// The file.
        path: PathBuf,
    },
    /// The file is PEM, but a section is broken.
    BadPem {
        /// The file.
        path: PathBuf,
        /// What is broken.
        reason: String,
    },
    /// The file is PEM and holds no certificate.
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file is PEM and holds no private key.
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key is protected by a passphrase, and there is nobody to type it.
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in the file cannot be understood.
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The private key cannot be understood, or its algorithm is not supported.
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key are fine, but do not belong together.
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A server was asked for without any certificate.
    NoServerCertificate,
    /// The system's trust store gave no usable certificate.
    NoSystemRoots {
        /// What the attempts to read it said; empty when there was nothing to read.
        reason: String,
    },
    /// rustls refused the settings.
    Settings(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::TooLarge { path, limit } => {
                write!(f, "{} is larger than {limit} bytes", path.display())
            }
            Self::NotPem { path } => {
                write!(f, "{} is not PEM: it has no BEGIN line", path.display())
            }
            Self::BadPem { path, reason } => {
                write!(f, "{} is broken PEM: {reason}", path.display())
            }
            Self::NoCertificate { path } => write!(f, "{} holds no certificate", path.display()),
            Self::NoKey { path } => write!(f, "{} holds no private key", path.display()),
            Self::EncryptedKey { path } => {
                write!(f, "the private key in {} is encrypted", path.display())
            }
            Self::BadCertificate { path, reason } => {
                write!(f, "bad certificate in {}: {reason}", path.display())
            }
            Self::BadKey { path, reason } => {
                write!(f, "bad private key in {}: {reason}", path.display())
            }
            Self::KeyMismatch { certificate, key } => write!(
                f,
                "the key in {} does not belong to the certificate in {}",
                key.display(),
                certificate.display()
            ),
            Self::NoServerCertificate => f.write_str("a TLS server needs at least one certificate"),
            Self::NoSystemRoots { reason } if reason.is_empty() => {
                f.write_str("the system has no trusted root certificates")
            }
            Self::NoSystemRoots { reason } => {
                write!(f, "cannot read the system's root certificates: {reason}")
            }
            Self::Settings(error) => write!(f, "TLS settings refused: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Settings(error) => Some(error),
            _ => None,
        }
    }
}
