//! From an accepted socket to a protocol: PROXY header, TLS, and what the client speaks.

use super::{Presence, http1, http2};
use crate::config::plan::Scheme;
use crate::exchange::Client;
use crate::forwarded::is_trusted;
use crate::timer::Timer;
use crate::worker::{Door, Worker};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use tidegate_wire::buffer::ReadBuffer;
use tidegate_wire::h1::{Connection, Preface};
use tidegate_wire::proxy_protocol;
use tidegate_wire::socket::Socket;
use tidegate_wire::transport::Transport;
use tokio::net::TcpStream;

/// Serves one connection until it ends.
pub(super) async fn serve(
    worker: Rc<Worker>,
    door: Rc<Door>,
    stream: TcpStream,
    address: SocketAddr,
    presence: Presence,
) {
    let mut timer = Timer::new(Instant::now());
    let deadline = timer.now() + door.plan.timeouts.handshake;
    let simple = door.tls.is_none() && door.plan.proxy_protocol.is_none();
    let opened = if simple {
        Ok((Transport::Tcp(stream), address))
    } else {
        // Boxed: the many states of a handshake would otherwise be part of every connection.
        match timer.bound(deadline, Box::pin(handshake(&door, stream, address))).await {
            Some(opened) => opened,
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    let (transport, address) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(%address, %error, "handshake failed");
            door.meter.handshake_failed();
            return;
        }
    };
    let negotiated = match &transport {
        Transport::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        Transport::Tcp(_) => false,
    };
    let scheme = if transport.is_tls() { Scheme::Https } else { Scheme::Http };
    let client = Rc::new(Client { address, scheme, listener: door });
    if negotiated {
        return Box::pin(http2::serve(worker, client, transport, ReadBuffer::default(), presence)).await;
    }
    let mut connection = Connection::new(transport);
    match preface(&worker, &client, &mut connection, &mut timer, &presence).await {
        Some(Preface::Http1) => http1::serve(worker, client, connection, timer, presence).await,
        Some(Preface::Http2) => {
            let (transport, ahead) = connection.into_parts();
            Box::pin(http2::serve(worker, client, transport, ahead, presence)).await;
        }
        Some(Preface::Closed) | None => {}
    }
}

async fn handshake(door: &Door, mut stream: TcpStream, address: SocketAddr) -> io::Result<(Transport, SocketAddr)> {
    let mut address = address;
    let proxied = door.plan.proxy_protocol.as_ref();
    if proxied.is_some_and(|proxy| is_trusted(address.ip(), &proxy.trusted)) {
        let header = proxy_protocol::read(&mut stream).await?;
        address = header.source.unwrap_or(address);
    }
    let transport = match &door.tls {
        Some(acceptor) => Transport::Tls(Box::new(acceptor.accept(Socket::from(stream)).await?.into())),
        None => Transport::Tcp(stream),
    };
    Ok((transport, address))
}

/// Waits for the first bytes, as long as a kept-alive connection waits for its next request.
async fn preface(
    worker: &Worker,
    client: &Client,
    connection: &mut Connection,
    timer: &mut Timer,
    presence: &Presence,
) -> Option<Preface> {
    let opened = timer.now();
    timer
        .drive(|cx, timer| {
            presence.entry.register(cx.waker());
            if let std::task::Poll::Ready(preface) = connection.poll_preface(cx) {
                return std::task::Poll::Ready(preface.ok());
            }
            let wait = http1::idle_time(worker, client);
            timer.poll(cx, opened.checked_add(wait)).map(|()| None)
        })
        .await
}
