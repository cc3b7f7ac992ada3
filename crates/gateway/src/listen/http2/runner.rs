//! Tasks that run exchanges, one after another.
//!
//! The state of an exchange is some kilobytes. A task for each stream would move it half a dozen times
//! before its first poll and allocate it each time; a task that waits for the next stream keeps it
//! where it is, and its timer too.

use super::Running;
use crate::exchange::{self, Client};
use crate::fault::Fault;
use crate::timer::Timer;
use crate::worker::Worker;
use h2::RecvStream;
use h2::server::SendResponse;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;
use tidegate_wire::h2::{Chunk, Stream};
use tidegate_wire::parse::HeadLimits;
use tidegate_wire::peer::Peer;

/// How many tasks a thread keeps for streams to come.
const KEPT: usize = 256;

thread_local! {
    static RESTING: RefCell<Vec<Rc<Seat>>> = const { RefCell::new(Vec::new()) };
}

/// One stream, from its connection.
pub(super) struct Job {
    pub(super) worker: Rc<Worker>,
    pub(super) client: Rc<Client>,
    pub(super) request: http::Request<RecvStream>,
    pub(super) respond: SendResponse<Chunk>,
    pub(super) ticket: Ticket,
}

/// A running exchange, as its connection counts it.
pub(super) struct Ticket(Rc<Running>);

/// Where a task waits for its next job.
struct Seat {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
}

impl Ticket {
    pub(super) fn new(running: &Rc<Running>) -> Self {
        running.count.set(running.count.get() + 1);
        Self(Rc::clone(running))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// Runs the exchange of a stream in a task that rests, or in a new one.
pub(super) fn run(job: Job) {
    let resting = RESTING.with_borrow_mut(|resting| {
        // A task that went with its runtime has left only its seat behind.
        std::iter::from_fn(|| resting.pop()).find(|seat| Rc::strong_count(seat) > 1)
    });
    match resting {
        Some(seat) => seat.take(job),
        None => {
            tokio::task::spawn_local(serve(Rc::new(Seat { job: Cell::new(Some(job)), waker: Cell::new(None) })));
        }
    }
}

async fn serve(seat: Rc<Seat>) {
    let mut timer = Timer::new(Instant::now());
    let mut peer = Peer::H2(Box::new(Stream::vacant()));
    loop {
        let job = seat.next().await;
        timer.refresh();
        exchange(job, &mut peer, &mut timer).await;
        if !rest(&seat) {
            return;
        }
    }
}

/// Gets in line for another job; false where enough others are there.
fn rest(seat: &Rc<Seat>) -> bool {
    RESTING.with_borrow_mut(|resting| {
        let room = resting.len() < KEPT;
        if room {
            resting.push(Rc::clone(seat));
        }
        room
    })
}

impl Seat {
    fn take(&self, job: Job) {
        self.job.set(Some(job));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn next(&self) -> Job {
        poll_fn(|cx| match self.job.take() {
            Some(job) => Poll::Ready(job),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

async fn exchange(job: Job, peer: &mut Peer, timer: &mut Timer) {
    let Job { worker, client, request, respond, ticket } = job;
    let Peer::H2(stream) = peer else {
        return;
    };
    let mut scratch = worker.take_scratch();
    let limits = &client.listener.plan.limits;
    let limits = HeadLimits { bytes: limits.head, fields: limits.fields, target: limits.target };
    let length = stream.accept(request, respond, &ticket.0.outbox, &limits, &mut scratch.request);
    let length = length.map_err(Fault::Refused);
    exchange::serve(&worker, &client, peer, &mut scratch, length, false, timer).await;
    if let Peer::H2(stream) = peer {
        stream.leave();
    }
    worker.keep_scratch(scratch);
}
