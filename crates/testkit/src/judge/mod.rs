//! Judges: many models of real back ends read what the gateway forwarded, and must agree.
//!
//! Request smuggling lives on disagreement: the gateway means one thing, a back end reads another.
//! [`agree`] reads the bytes of one upstream connection once strictly, by RFC 9112, and once for
//! each lenient [`Dialect`] that servers have been known to speak. If the strict reader refuses, or
//! any dialect finds other requests in the same bytes, the gateway forwarded something ambiguous.

mod dialect;
mod path;
mod reading;

pub use dialect::{Coding, DIALECTS, Dialect, Folds, Hosts, Length, Lines, Names, Precedence, STRICT, Sizes};
pub use path::{PathDisagreement, agree_on_path};
pub use reading::{Request, read, read_up_to_refusal};

use crate::shown;

/// Two models that read the same bytes differently, or bytes that no sender may generate.
#[derive(Debug)]
pub struct Disagreement {
    /// The model that differs from the strict one; the strict one itself when it refuses.
    pub dialect: &'static str,
    /// What the strict model found, or why it refused.
    pub strict: Result<Vec<Request>, String>,
    /// What the differing model found.
    pub other: Result<Vec<Request>, String>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dialect, strict, other, bytes } = self;
        write!(formatter, "{dialect} reads {}\nthe RFC {}\nin {}", listed(other), listed(strict), shown(bytes))
    }
}

impl std::error::Error for Disagreement {}

fn listed(reading: &Result<Vec<Request>, String>) -> String {
    match reading {
        Err(reason) => format!("nothing: {reason}"),
        Ok(requests) => requests.iter().map(|request| format!("[{request}]")).collect(),
    }
}

/// What all models agree was sent on one connection; the last request may be cut.
///
/// # Errors
/// The first model that disagrees with the strict one.
pub fn agree(bytes: &[u8]) -> Result<Vec<Request>, Box<Disagreement>> {
    let strict = read(bytes, &STRICT);
    for dialect in [&STRICT].into_iter().chain(DIALECTS) {
        let other = read(bytes, dialect);
        if strict.is_err() || other != strict {
            return Err(Box::new(Disagreement { dialect: dialect.name, strict, other, bytes: bytes.to_vec() }));
        }
    }
    Ok(strict.unwrap_or_default())
}

#[cfg(test)]
mod tests;
