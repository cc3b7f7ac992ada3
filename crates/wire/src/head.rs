//! Message heads: the start line and the [`Fields`] behind it, whatever protocol carried them.

use crate::fields::Fields;
use crate::name::Known;
use http::{Method, StatusCode};

/// The protocol version that the sender of a message speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As written in logs: `HTTP/1.1`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// The head of a request.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The request target as it is forwarded; in HTTP/2 the `:path`.
    pub target: Vec<u8>,
    /// The version of the peer that sent it.
    pub version: Version,
    /// The fields. In HTTP/2 `:authority` stands here as `host`.
    pub fields: Fields,
}

impl RequestHead {
    /// Forgets everything; the memory is kept for the next message.
    pub fn clear(&mut self) {
        self.method = Method::GET;
        self.target.clear();
        self.fields.clear();
    }

    /// Writes the request line and the fields as HTTP/1.1, without the empty line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(&self.target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        self.fields.write(out);
    }

    /// As the `http` crate's parts, for programs that live in that ecosystem.
    ///
    /// # Errors
    /// When the target is not a URI in that crate's understanding.
    pub fn to_parts(&self) -> Result<http::request::Parts, http::Error> {
        let mut request = http::Request::builder()
            .method(self.method.clone())
            .uri(self.target.as_slice())
            .version(match self.version {
                Version::Http10 => http::Version::HTTP_10,
                Version::Http11 => http::Version::HTTP_11,
                Version::Http2 => http::Version::HTTP_2,
            })
            .body(())?;
        *request.headers_mut() = self.fields.to_header_map();
        Ok(request.into_parts().0)
    }
}

/// The head of a response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// The status code.
    pub status: StatusCode,
    /// The version of the peer that sent it.
    pub version: Version,
    /// The reason phrase as received; empty where the protocol has none.
    pub reason: Vec<u8>,
    /// The fields.
    pub fields: Fields,
}

impl ResponseHead {
    /// Forgets everything; the memory is kept for the next message.
    pub fn clear(&mut self) {
        self.status = StatusCode::OK;
        self.reason.clear();
        self.fields.clear();
    }

    /// Writes the status line and the fields as HTTP/1.1, without the empty line.
    ///
    /// The version is always 1.1, also towards an HTTP/1.0 client: RFC 9110 §6.2 asks a server to
    /// send the highest version it speaks.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        if self.reason.is_empty() {
            out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        } else {
            out.extend_from_slice(&self.reason);
        }
        out.extend_from_slice(b"\r\n");
        self.fields.write(out);
    }

    /// As the `http` crate's parts, for programs that live in that ecosystem.
    #[must_use]
    pub fn to_parts(&self) -> http::response::Parts {
        let mut response = http::Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields.to_header_map();
        response.into_parts().0
    }

    /// Whether this is an interim answer, which another head follows (RFC 9110 §15.2).
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Whether a comma-separated list in any of the fields called `known` has the token `token`.
#[must_use]
pub fn list_has(fields: &Fields, known: Known, token: &str) -> bool {
    fields.values(known).any(|value| tokens(value).any(|t| t.eq_ignore_ascii_case(token.as_bytes())))
}

/// The elements of a comma-separated list, without white space and empty elements (RFC 9110 §5.6.1).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}
