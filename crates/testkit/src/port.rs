//! An address at which nobody answers.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType};

/// A port that is bound and not listening: a connection to it is refused, and no other process can
/// take it while this value lives.
#[derive(Debug)]
pub struct RefusingPort {
    _socket: OwnedFd,
    address: SocketAddr,
}

impl RefusingPort {
    /// Reserves a free port of the loopback address.
    ///
    /// # Panics
    /// When the system has no socket or port left.
    pub fn reserve() -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = rustix::net::getsockname(&socket).expect("a bound socket has a name");
        let address = address.try_into().expect("an IPv4 socket has an IPv4 name");
        Self { _socket: socket, address }
    }

    /// The address that refuses.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_refused() {
        let port = RefusingPort::reserve();
        let error = std::net::TcpStream::connect(port.address()).expect_err("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
