//! The accept loop of one listening socket.

use super::{Presence, establish};
use crate::places::Place;
use crate::worker::Worker;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long to wait when the system has no descriptor or memory for another connection. Meanwhile idle
/// connections are asked to go.
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
    let mut exhausted = None;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return drain_queue(&worker, &listener, &door),
        };
        match accepted {
            Ok((stream, address)) => {
                exhausted = None;
                let place = tokio::select! {
                    biased;
                    place = place(&worker, &door) => place,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                admit(&worker, door.get(), stream, address, place);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if exhausted.is_none() {
                    tracing::warn!(%error, "cannot accept connections for the moment");
                }
                exhausted.get_or_insert_with(|| worker.crowd());
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// A place for the connection just accepted. While there is none, it waits, others wait behind it in
/// the queue of the kernel, and idle connections are asked to go.
async fn place(worker: &Rc<Worker>, door: &Cell<usize>) -> Place {
    let open = || worker.pin().doors.get(door.get()).map(Rc::clone);
    let Some(entrance) = open() else {
        return std::future::pending().await;
    };
    if let Some(place) = entrance.places.take(entrance.plan.limits.connections) {
        return place;
    }
    entrance.meter.delayed();
    let _crowding = worker.crowd();
    let limit = || open().map_or(0, |entrance| entrance.plan.limits.connections);
    entrance.places.wait(limit).await
}

/// Connections that the kernel has completed are served, although no new ones are wanted.
fn drain_queue(worker: &Rc<Worker>, listener: &TcpListener, door: &Cell<usize>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let local = worker.pin();
    let Some(entrance) = local.doors.get(door.get()) else {
        return;
    };
    while let Some(place) = entrance.places.take(entrance.plan.limits.connections) {
        let std::task::Poll::Ready(Ok((stream, address))) = listener.poll_accept(&mut cx) else {
            return;
        };
        admit(worker, door.get(), stream, address, place);
    }
}

fn admit(worker: &Rc<Worker>, door: usize, stream: tokio::net::TcpStream, address: std::net::SocketAddr, place: Place) {
    let local = worker.pin();
    let Some(door) = local.doors.get(door) else {
        return;
    };
    // Relayed messages leave in as few writes as possible already; waiting for more would only delay.
    let _ = stream.set_nodelay(true);
    let presence = Presence::new(worker, door, place);
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
