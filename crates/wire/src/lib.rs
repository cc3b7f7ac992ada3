//! HTTP/1 and HTTP/2 as a proxy needs them: message heads, strict parsing, framing, connections.
//!
//! This crate knows bytes and sockets. It holds no policy, no routing and no configuration.

pub mod proxy_protocol;
pub mod tls;
