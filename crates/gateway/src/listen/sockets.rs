//! Listening sockets: one per worker on the same address, so that the kernel spreads connections
//! (SO_REUSEPORT) and no lock is shared.
//!
//! The sockets belong to the control side, which lends each worker a duplicate. So a configuration
//! can be swapped, and a new process can be given the very same sockets, without one connection
//! that waits in a queue being lost.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that may wait to be accepted, per socket; the kernel may allow fewer.
const BACKLOG: i32 = 4096;

/// Bytes beyond what a client's window takes that a socket accepts at a time. Without a bound the
/// kernel takes 4 MiB of an answer from the gateway for a client that reads none of it, which is
/// memory that no limit of the configuration knows of.
const UNSENT: u32 = 256 * 1024;

/// The sockets that listen on one address.
#[derive(Debug)]
pub struct SocketGroup {
    /// The address as it is configured; its port may be 0.
    pub configured: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl SocketGroup {
    /// Binds `count` sockets to `address`. A port of 0 is chosen once for all of them.
    ///
    /// # Errors
    /// When the address cannot be bound, or somebody else listens on it already.
    pub fn bind(address: SocketAddr, count: usize) -> io::Result<Self> {
        check_unused(address)?;
        let mut group = Self { configured: address, sockets: Vec::new() };
        group.grow(count)?;
        Ok(group)
    }

    /// Takes over sockets that another process has bound.
    ///
    /// # Errors
    /// When they cannot be used without blocking.
    pub fn adopt(configured: SocketAddr, sockets: Vec<TcpListener>) -> io::Result<Self> {
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        Ok(Self { configured, sockets })
    }

    /// Adds sockets until there are `count`. There are never fewer than before: closing one would
    /// lose what waits in its queue.
    ///
    /// # Errors
    /// When the address cannot be bound once more.
    pub fn grow(&mut self, count: usize) -> io::Result<()> {
        while self.sockets.len() < count {
            let address = self.address().unwrap_or(self.configured);
            self.sockets.push(bind(address)?);
        }
        Ok(())
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// When there is no socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.sockets.first().ok_or(io::ErrorKind::NotFound)?.local_addr()
    }

    /// The sockets themselves, to be handed to another process.
    #[must_use]
    pub fn sockets(&self) -> &[TcpListener] {
        &self.sockets
    }

    /// Duplicates for worker number `worker` of `workers`: every socket is served by exactly one.
    pub(crate) fn share(&self, worker: usize, workers: usize) -> io::Result<Vec<TcpListener>> {
        self.sockets.iter().skip(worker).step_by(workers.max(1)).map(TcpListener::try_clone).collect()
    }
}

/// Binds a socket that shares its port with nobody, and drops it. With SO_REUSEPORT alone a second gateway
/// on the same address would start without a word and take a part of the connections.
fn check_unused(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit it.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_is_chosen_once_and_shared() {
        let group = SocketGroup::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let port = group.address().unwrap().port();
        assert_ne!(port, 0);
        for socket in group.sockets() {
            assert_eq!(socket.local_addr().unwrap().port(), port);
        }
        assert_eq!(group.share(0, 2).unwrap().len(), 2);
        assert_eq!(group.share(1, 2).unwrap().len(), 1);
    }

    #[test]
    fn an_address_in_use_is_an_error_although_ports_are_shared() {
        let group = SocketGroup::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let error = SocketGroup::bind(group.address().unwrap(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
