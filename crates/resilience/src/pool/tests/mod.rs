//! A workshop whose tools can break, be slow or never come, and what is tested with it.

#![allow(clippy::unwrap_used)]

mod change;
mod checkout;
mod drops;
mod maintenance;
mod model;
mod options;
mod stress;

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, ManualClock};
use crate::error::{Code, Error};
use crate::event::Events;
use crate::policy::Environment;
use crate::pool::{Manage, Pool, PoolOptions, Pooled};
use crate::random::Random;

/// What goes wrong with a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trouble;

/// What an attempt to make, or to check, a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Works,
    Fails,
    Hangs,
    Panics,
    /// Lets others run so many times before it works.
    Yields(u32),
}

impl Plan {
    async fn run(self) -> Result<(), Trouble> {
        match self {
            Self::Works => {}
            Self::Fails => return Err(Trouble),
            Self::Hangs => pending().await,
            Self::Panics => panic!("on purpose"),
            Self::Yields(times) => {
                for _ in 0..times {
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }
}

/// What all tools of a pool have in common.
#[derive(Debug, Default)]
struct Shop {
    live: AtomicU32,
    most: AtomicU32,
    made: AtomicU32,
    checked: AtomicU32,
    /// For the next attempts; after them, all work.
    connects: Mutex<VecDeque<Plan>>,
    checks: Mutex<VecDeque<Plan>>,
}

#[derive(Debug)]
struct Tool {
    id: u32,
    broken: bool,
    dead: bool,
    asking_panics: bool,
    closing_panics: bool,
    shop: Arc<Shop>,
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.shop.live.fetch_sub(1, Ordering::SeqCst);
        assert!(!self.closing_panics, "on purpose");
    }
}

struct Maker(Arc<Shop>);

impl Manage for Maker {
    type Resource = Tool;
    type Error = Trouble;

    async fn connect(&self) -> Result<Tool, Trouble> {
        // A resource that is being made counts: the other side knows of it already.
        let live = self.0.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(live, Ordering::SeqCst);
        let mut tool = Tool {
            id: 0,
            broken: false,
            dead: false,
            asking_panics: false,
            closing_panics: false,
            shop: Arc::clone(&self.0),
        };
        let plan = self.0.connects.lock().pop_front().unwrap_or(Plan::Works);
        plan.run().await?;
        tool.id = self.0.made.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(tool)
    }

    async fn check(&self, tool: &mut Tool) -> Result<(), Trouble> {
        self.0.checked.fetch_add(1, Ordering::SeqCst);
        let plan = self.0.checks.lock().pop_front().unwrap_or(Plan::Works);
        plan.run().await?;
        if tool.dead { Err(Trouble) } else { Ok(()) }
    }

    fn is_broken(&self, tool: &mut Tool) -> bool {
        assert!(!tool.asking_panics, "on purpose");
        tool.broken
    }
}

/// A pool with its clock, its tools and its events.
struct Bench {
    pool: Pool<Maker>,
    clock: ManualClock,
    shop: Arc<Shop>,
    events: Events,
}

impl Bench {
    fn new(options: &PoolOptions) -> Self {
        let clock = Clock::manual();
        let environment = Environment { clock: clock.clock(), random: Random::seeded(1), events: Events::default() };
        let shop = Arc::new(Shop::default());
        let pool = Pool::in_environment("tools", Maker(Arc::clone(&shop)), options, &environment).unwrap();
        Self { pool, clock, shop, events: environment.events }
    }

    /// A pool of so many tools.
    fn of(size: u32) -> Self {
        Self::new(&PoolOptions { size, ..Default::default() })
    }

    fn change(&self, change: impl FnOnce(&mut PoolOptions)) {
        let mut options = self.pool.options();
        change(&mut options);
        self.pool.reconfigure(&options).unwrap();
    }

    fn plan_connects(&self, plans: impl IntoIterator<Item = Plan>) {
        self.shop.connects.lock().extend(plans);
    }

    fn plan_checks(&self, plans: impl IntoIterator<Item = Plan>) {
        self.shop.checks.lock().extend(plans);
    }

    async fn take(&self) -> Pooled<Maker> {
        self.pool.acquire().await.unwrap()
    }

    /// Takes so many at a time and gives them back, so that they lie idle in the order in which they were made.
    async fn fill(&self, count: u32) {
        let mut tools = Vec::new();
        for _ in 0..count {
            tools.push(self.take().await);
        }
        tools.into_iter().for_each(drop);
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Checks that idle, busy and waiting are so many, and that no tool is lost and no place beyond its bound.
    #[track_caller]
    fn expect(&self, idle: u32, busy: u32, waiting: u32) {
        let stats = self.pool.stats();
        assert_eq!((stats.idle, stats.busy, stats.waiting), (idle, busy, waiting), "{stats:?}");
        let live = u64::from(self.shop.live.load(Ordering::SeqCst));
        assert!(live <= u64::from(idle + busy), "{live} live tools: {stats:?}");
        if busy == 0 {
            assert_eq!((live, stats.created - stats.closed), (idle.into(), idle.into()), "{stats:?}");
        }
    }
}

#[track_caller]
fn code<T>(result: Result<T, Error<Trouble>>) -> Code {
    match result {
        Err(Error::Rejected(rejection)) => rejection.code(),
        Err(Error::Call(trouble)) => panic!("{trouble:?}"),
        Ok(_) => panic!("not rejected"),
    }
}

/// Polls once.
fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until it is ready.
#[track_caller]
fn finish<F: Future>(mut future: Pin<Box<F>>) -> F::Output {
    for _ in 0..100 {
        if let Poll::Ready(output) = poll(&mut future) {
            return output;
        }
    }
    panic!("never ready");
}

/// Lets all other tasks run as far as they can.
async fn others_run() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
