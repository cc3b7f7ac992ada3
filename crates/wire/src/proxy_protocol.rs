//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer really is.
