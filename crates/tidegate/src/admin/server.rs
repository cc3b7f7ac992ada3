//! Serves the admin pages on a socket, with a bound on everything a client can hold on to.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What a client may take up.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Open connections; further ones wait in the kernel's backlog.
    pub(crate) connections: usize,
    /// For a request head to arrive; also for the next one on an idle connection.
    pub(crate) head: Duration,
    /// For a whole connection, so that a client that does not read its answer goes away too.
    pub(crate) lifetime: Duration,
    /// For an answer that is under way when the connection must end.
    pub(crate) grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            lifetime: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
}

/// The largest request head, and what is buffered of an answer.
const BUFFER: usize = 16 * 1024;

/// After an accept that failed, for lack of descriptors most likely: time for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes, then lets answers under way finish within the grace. Needs a runtime with
/// input, output and time.
///
/// # Errors
///
/// When the listener cannot be used with the runtime. Nothing a client does is an error here.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < limits.connections => {
                connections.spawn(connection(stream, router.clone(), limits.clone(), stopped.clone()));
            }
        }
    }
    drop(listener);
    drop(stop);
    // Each connection ends within the grace by itself.
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => return stream,
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// `stopped` has no sender any more when the server is to end.
async fn connection(stream: TcpStream, router: Router, limits: Limits, mut stopped: watch::Receiver<()>) {
    let service = TowerToHyperService::new(router);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    tokio::select! {
        _ended = served.as_mut() => return,
        _ended = stopped.changed() => {}
        () = sleep(limits.lifetime) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ended = timeout(limits.grace, served).await;
}
