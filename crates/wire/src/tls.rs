//! TLS by rustls: certificates by server name for clients, verified connections to upstreams.
