//! A certificate with its key, checked to belong together, and what people need to know about it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::CertificateFiles;
use super::error::TlsError;
use super::files::{self, Digest};

/// What the end-entity certificate of a chain says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The file it came from.
    pub path: PathBuf,
    /// Its DNS names from the subject alternative name extension, in lower case; wildcards as `*.example.com`.
    ///
    /// The subject's common name is not a host name (RFC 9525 section 2) and is not listed.
    pub names: Vec<String>,
    /// The first moment it is valid.
    pub not_before: SystemTime,
    /// The last moment it is valid.
    pub not_after: SystemTime,
}

/// Why clients will probably refuse a certificate that was loaded all the same.
///
/// A gateway that starts with an expired certificate is easier to repair than one that does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateWarning {
    /// Its last valid moment has passed.
    Expired,
    /// Its first valid moment has not come.
    NotYetValid,
    /// It has no DNS name, so that it can only serve as the default.
    NoNames,
}

impl CertificateInfo {
    /// What is doubtful about the certificate at the time `now`; the most serious first.
    pub fn warning(&self, now: SystemTime) -> Option<CertificateWarning> {
        if now > self.not_after {
            Some(CertificateWarning::Expired)
        } else if now < self.not_before {
            Some(CertificateWarning::NotYetValid)
        } else if self.names.is_empty() {
            Some(CertificateWarning::NoNames)
        } else {
            None
        }
    }
}

/// A chain with its key, ready for rustls.
pub(super) struct Identity {
    pub(super) certified: CertifiedKey,
    pub(super) info: CertificateInfo,
}

impl Identity {
    pub(super) fn load(
        source: &CertificateFiles,
        digest: &mut Digest,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let chain = files::certificates(&source.certificate, &digest.read(&source.certificate)?)?;
        let key = files::private_key(&source.key, &digest.read(&source.key)?)?;
        let info = describe(&source.certificate, &chain[0])?;
        let certified = certify(source, chain, key, provider)?;
        Ok(Self { certified, info })
    }
}

fn certify(
    source: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::KeyMismatch { certificate: source.certificate.clone(), key: source.key.clone() }
        }
        Error::InvalidCertificate(reason) => bad_certificate(&source.certificate, &reason),
        other => TlsError::BadKey { path: source.key.clone(), reason: other.to_string() },
    })
}

fn describe(path: &Path, der: &CertificateDer<'_>) -> Result<CertificateInfo, TlsError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| bad_certificate(path, &error))?;
    let validity = certificate.validity();
    Ok(CertificateInfo {
        path: path.to_owned(),
        names: dns_names(path, &certificate)?,
        not_before: system_time(validity.not_before),
        not_after: system_time(validity.not_after),
    })
}

fn dns_names(path: &Path, certificate: &X509Certificate<'_>) -> Result<Vec<String>, TlsError> {
    let extension = certificate.subject_alternative_name().map_err(|error| bad_certificate(path, &error))?;
    let names = extension.iter().flat_map(|found| &found.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}

fn bad_certificate(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::BadCertificate { path: path.to_owned(), reason: reason.to_string() }
}

/// Seconds before 1970 count as 1970; the last year that X.509 can write, 9999, fits every clock.
fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
