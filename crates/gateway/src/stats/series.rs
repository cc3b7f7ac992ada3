//! Series, their stripes, and the meters through which workers write.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use super::cell::Gauge;

/// What a series is about: a route, an upstream or a listener.
pub trait Kind: 'static {
    /// What tells two series of this kind apart.
    type Labels;
    /// The numbers that one worker writes.
    type Stripe: Default;
}

/// One worker's numbers on cache lines of their own. 128 bytes, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// A worker's place in a series; empty until that worker writes for the first time.
type Slot<T> = OnceLock<Arc<Padded<T>>>;

/// The numbers of one route, upstream or listener: a stripe for each worker that has written.
pub struct Series<K: Kind> {
    labels: K::Labels,
    stripes: Box<[Slot<K::Stripe>]>,
}

impl<K: Kind> Series<K> {
    pub(super) fn new(labels: K::Labels, workers: usize) -> Self {
        Self { labels, stripes: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// What tells this series apart from others.
    pub fn labels(&self) -> &K::Labels {
        &self.labels
    }

    /// The handle through which worker number `worker` writes. Call it on that worker's thread.
    ///
    /// # Panics
    ///
    /// When the registry was made for fewer workers.
    pub fn meter(self: &Arc<Self>, worker: usize) -> Meter<K> {
        assert!(worker < self.stripes.len(), "worker {worker} of {}", self.stripes.len());
        Meter(Rc::new(Local { series: Arc::clone(self), worker, stripe: OnceCell::new() }))
    }

    pub(super) fn stripes(&self) -> impl Iterator<Item = &K::Stripe> {
        self.stripes.iter().filter_map(|slot| slot.get()).map(|padded| &padded.0)
    }

    fn stripe(&self, worker: usize) -> Arc<Padded<K::Stripe>> {
        Arc::clone(self.stripes[worker].get_or_init(Arc::default))
    }
}

impl<K: Kind<Labels: fmt::Debug>> fmt::Debug for Series<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// One worker's handle on a series. A clone shares the stripe and costs no locked instruction.
pub struct Meter<K: Kind>(Rc<Local<K>>);

struct Local<K: Kind> {
    /// Keeps the series in the registry for as long as a request may still write to it.
    series: Arc<Series<K>>,
    worker: usize,
    stripe: OnceCell<Arc<Padded<K::Stripe>>>,
}

impl<K: Kind> Meter<K> {
    /// The series that this meter writes to.
    pub fn series(&self) -> &Arc<Series<K>> {
        &self.0.series
    }

    #[inline]
    pub(super) fn stripe(&self) -> &K::Stripe {
        let local = &*self.0;
        &local.stripe.get_or_init(|| local.series.stripe(local.worker)).0
    }

    /// Counts one more on `gauge` until the answer is dropped.
    #[inline]
    pub(super) fn hold(&self, gauge: fn(&K::Stripe) -> &Gauge) -> Held<K> {
        gauge(self.stripe()).increment();
        Held { meter: self.clone(), gauge }
    }
}

impl<K: Kind> Clone for Meter<K> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Kind<Labels: fmt::Debug>> fmt::Debug for Meter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("labels", &self.0.series.labels)
            .field("worker", &self.0.worker)
            .finish_non_exhaustive()
    }
}

/// One unit of a gauge (a request in flight, an open connection): counted until this is dropped.
#[must_use = "the gauge goes down again when this is dropped"]
pub struct Held<K: Kind> {
    meter: Meter<K>,
    gauge: fn(&K::Stripe) -> &Gauge,
}

impl<K: Kind> Drop for Held<K> {
    fn drop(&mut self) {
        (self.gauge)(self.meter.stripe()).decrement();
    }
}

impl<K: Kind> fmt::Debug for Held<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}
