//! PEM files: read once, within a bound, into DER; and a fingerprint of what was read.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;

/// The largest file that is read. A bundle with every public root is a fifth of this.
const MAX_FILE: u64 = 1024 * 1024;

/// A digest of the contents of some files, to notice that they did not change.
///
/// It answers "would building again give something new" and nothing else: it is not a cryptographic hash, and it
/// means nothing in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of the files at `paths`, in this order.
    ///
    /// Contents are compared, not modification times: a file that was written again with the same bytes counts as
    /// unchanged, and a symbolic link that was swapped is followed.
    ///
    /// # Errors
    ///
    /// [`TlsError::Read`] and [`TlsError::TooLarge`].
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, TlsError> {
        let mut digest = Digest::new();
        for path in paths {
            digest.read(path)?;
        }
        Ok(digest.fingerprint())
    }
}

/// Reads files and remembers what they said.
pub(super) struct Digest(DefaultHasher);

impl Digest {
    pub(super) fn new() -> Self {
        Self(DefaultHasher::new())
    }

    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, TlsError> {
        let bytes = read_bounded(path)?;
        // Hashing a slice includes its length, so bytes cannot move from one file to the next unnoticed.
        bytes.hash(&mut self.0);
        Ok(bytes)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.0.finish())
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(bytes)
}

/// All certificates in `bytes`, in order; at least one.
pub(super) fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(path, &error))?;
    if found.is_empty() {
        return Err(missing(path, bytes, |path| TlsError::NoCertificate { path }));
    }
    Ok(found)
}

/// The first private key in `bytes`.
pub(super) fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted(bytes) => Err(TlsError::EncryptedKey { path: path.to_owned() }),
        Err(pem::Error::NoItemsFound) => Err(missing(path, bytes, |path| TlsError::NoKey { path })),
        Err(error) => Err(pem_error(path, &error)),
    }
}

fn missing(path: &Path, bytes: &[u8], error: fn(PathBuf) -> TlsError) -> TlsError {
    let path = path.to_owned();
    if contains(bytes, b"-----BEGIN ") { error(path) } else { TlsError::NotPem { path } }
}

/// PKCS#8 says so in its label (RFC 7468 section 11), the older forms in a header of the section (RFC 1421 section 4.6.1.1).
fn is_encrypted(bytes: &[u8]) -> bool {
    contains(bytes, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(bytes, b"Proc-Type: 4,ENCRYPTED")
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn pem_error(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::BadPem { path: path.to_owned(), reason: error.to_string() }
}
