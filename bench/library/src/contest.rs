//! What is compared: an operation, and the contenders that do it.
//!
//! A contender makes one policy, which all its threads share, and from that a worker for each thread: a loop that does
//! the operation so many times. Every operation says whether it went as it should, and the loop asserts it, so that
//! nobody is quick by refusing.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::task::unconstrained;
use tower::{Service, ServiceExt};

/// Does an operation so many times. Lives on the thread that made it.
pub type Worker = Box<dyn FnMut(u64)>;

/// A policy, shared by the workers that it makes.
pub type Policy = Box<dyn Fn() -> Worker + Send + Sync>;

/// Makes a policy.
pub type Make = fn() -> Policy;

/// One row of the comparison.
pub struct Operation {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What is done.
    pub about: &'static str,
    /// What we ask of ourselves.
    pub bar: Bar,
    /// Ours, and then the rivals.
    pub contenders: Vec<Contender>,
}

/// One library's way to do an operation.
pub struct Contender {
    /// The library, and what is special about it here.
    pub name: &'static str,
    /// How many threads do it at once, on one policy.
    pub threads: usize,
    /// Makes the policy.
    pub policy: Make,
}

/// What ours must keep to.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// Nothing is asked.
    Open,
    /// At most so many nanoseconds.
    Nanos(f64),
    /// At most so many times what the first rival takes.
    Times(f64),
    /// At most so many nanoseconds more than the first rival.
    Above(f64),
}

impl Contender {
    /// A contender on one thread.
    pub const fn new(name: &'static str, policy: Make) -> Self {
        Self { name, threads: 1, policy }
    }

    /// The same on as many threads as there are cores.
    #[must_use]
    pub fn on_all_cores(self) -> Self {
        Self { threads: std::thread::available_parallelism().map_or(1, usize::from), ..self }
    }
}

/// A policy whose operation is a plain function.
pub fn plain<P, F>(policy: P, operation: F) -> Policy
where
    P: Send + Sync + 'static,
    F: Fn(&P) -> bool + Copy + Send + Sync + 'static,
{
    stateful(policy, || (), move |policy, ()| operation(policy))
}

/// A policy whose operation is a plain function, and needs something that each worker has for itself.
pub fn stateful<P, W, F>(policy: P, own: fn() -> W, operation: F) -> Policy
where
    P: Send + Sync + 'static,
    W: 'static,
    F: Fn(&P, &mut W) -> bool + Copy + Send + Sync + 'static,
{
    let policy = Arc::new(policy);
    Box::new(move || {
        let (policy, mut own) = (Arc::clone(&policy), own());
        Box::new(move |times| {
            let policy = &*policy;
            assert!((0..times).fold(true, |good, _| good & black_box(operation(black_box(policy), &mut own))));
        })
    })
}

/// A policy whose operation is a future. Each worker drives its own in a runtime of its own.
pub fn future<P, F>(policy: P, operation: F) -> Policy
where
    P: Send + Sync + 'static,
    F: AsyncFn(&P) -> bool + Copy + Send + Sync + 'static,
{
    let policy = Arc::new(policy);
    Box::new(move || {
        let (policy, runtime) = (Arc::clone(&policy), runtime());
        Box::new(move |times| {
            runtime.block_on(unconstrained(async {
                let mut good = true;
                for _ in 0..times {
                    good &= black_box(operation(black_box(&*policy)).await);
                }
                assert!(good);
            }));
        })
    })
}

/// A policy that is a tower service. Each worker has a clone of it, as each connection of a server has.
pub fn service<S>(service: S, good: fn(&Result<S::Response, S::Error>) -> bool) -> Policy
where
    S: Service<u64> + Clone + Send + 'static,
{
    let service = Mutex::new(service);
    Box::new(move || {
        let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let runtime = runtime();
        Box::new(move |times| {
            runtime.block_on(unconstrained(async {
                for request in 0..times {
                    let ready = service.ready().await.ok().expect("the service is always ready");
                    assert!(good(&black_box(ready.call(request).await)));
                }
            }));
        })
    })
}

/// What all futures and services do: answer at once.
pub fn answer(request: u64) -> Ready<Result<u64, Infallible>> {
    ready(Ok(black_box(request)))
}

/// A runtime for one thread, with timers. Futures run in it without a budget, so that none is made to pause.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime of one thread needs nothing but memory")
}
