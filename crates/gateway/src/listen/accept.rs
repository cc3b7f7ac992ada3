//! The accept loop of one listening socket.

use super::{Presence, Slot, establish};
use crate::worker::Worker;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long to wait when the system has no descriptor or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop` is set, then takes what still waits in the queue.
///
/// `door` is the position of the listener in the configuration in force.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    door: Rc<Cell<usize>>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return drain_queue(&worker, &listener, &door),
        };
        match accepted {
            Ok((stream, address)) => admit(&worker, door.get(), stream, address),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for the moment");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Connections that the kernel has completed are served, although no new ones are wanted.
fn drain_queue(worker: &Rc<Worker>, listener: &TcpListener, door: &Cell<usize>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Ok((stream, address))) = listener.poll_accept(&mut cx) {
        admit(worker, door.get(), stream, address);
    }
}

fn admit(worker: &Rc<Worker>, door: usize, stream: tokio::net::TcpStream, address: std::net::SocketAddr) {
    let local = worker.pin();
    let Some(door) = local.doors.get(door) else {
        return;
    };
    let Some(slot) = Slot::take(door) else {
        door.meter.refused();
        return;
    };
    // Relayed messages leave in as few writes as possible already; waiting for more would only delay.
    let _ = stream.set_nodelay(true);
    let presence = Presence::new(worker, door, slot);
    tokio::task::spawn_local(establish::serve(Rc::clone(worker), Rc::clone(door), stream, address, presence));
}

/// Errors that concern the connection that was to be accepted, and not the next one (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}
