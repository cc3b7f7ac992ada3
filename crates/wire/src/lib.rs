//! HTTP/1 and HTTP/2 as a proxy needs them: message heads, strict parsing, framing, connections.
//!
//! This crate knows bytes and sockets. It holds no policy, no routing and no configuration.

pub mod buffer;
pub mod chunked;
pub mod fields;
pub mod framing;
pub mod h1;
pub mod h2;
pub mod head;
pub mod name;
pub mod parse;
pub mod peer;
pub mod proxy_protocol;
pub mod socket;
pub mod tls;
pub mod transport;
