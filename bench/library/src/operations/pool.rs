//! Pools with an idle resource: checkout and return. Nobody checks the resource, and nothing has a limited life.

use std::convert::Infallible;
use std::future::{Future, ready};

use deadpool::managed::{Manager, Metrics, RecycleResult};
use tidegate_resilience::{Manage, Pool, PoolOptions};

use crate::contest::{Bar, Contender, Operation, Policy, future, runtime};

/// How many resources there may be.
const SIZE: u32 = 16;

/// Makes resources that are nothing at all.
#[derive(Debug)]
struct Nothing;

impl Manage for Nothing {
    type Resource = ();
    type Error = Infallible;

    fn connect(&self) -> impl Future<Output = Result<(), Infallible>> + Send {
        ready(Ok(()))
    }
}

impl Manager for Nothing {
    type Type = ();
    type Error = Infallible;

    fn create(&self) -> impl Future<Output = Result<(), Infallible>> + Send {
        ready(Ok(()))
    }

    fn recycle(&self, (): &mut (), _: &Metrics) -> impl Future<Output = RecycleResult<Infallible>> + Send {
        ready(Ok(()))
    }
}

impl bb8::ManageConnection for Nothing {
    type Connection = ();
    type Error = Infallible;

    fn connect(&self) -> impl Future<Output = Result<(), Infallible>> + Send {
        ready(Ok(()))
    }

    fn is_valid(&self, (): &mut ()) -> impl Future<Output = Result<(), Infallible>> + Send {
        ready(Ok(()))
    }

    fn has_broken(&self, (): &mut ()) -> bool {
        false
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        name: "pool",
        about: "pool with an idle resource: checkout and return",
        bar: Bar::Open,
        contenders: vec![
            Contender::new("ours", ours),
            Contender::new("deadpool", deadpool),
            Contender::new("bb8", bb8),
        ],
    }]
}

pub(super) fn ours() -> Policy {
    let options = PoolOptions { size: SIZE, max_lifetime: None, idle_timeout: None, ..Default::default() };
    let pool = Pool::new("bench", Nothing, &options).expect("valid options");
    future(pool, async |pool| pool.acquire().await.is_ok())
}

pub(super) fn deadpool() -> Policy {
    let pool = deadpool::managed::Pool::<Nothing>::builder(Nothing).max_size(SIZE as usize).build();
    future(pool.expect("valid options"), async |pool| pool.get().await.is_ok())
}

pub(super) fn bb8() -> Policy {
    let builder = bb8::Pool::builder().max_size(SIZE).max_lifetime(None).idle_timeout(None).test_on_check_out(false);
    let pool = runtime().block_on(builder.build(Nothing)).expect("nothing is easily made");
    future(pool, async |pool| pool.get().await.is_ok())
}
