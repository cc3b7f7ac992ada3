//! All series of the process, by name.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::endpoint::{Endpoint, EndpointLabels, EndpointSeries};
use super::listener::{Listener, ListenerSeries};
use super::process::Process;
use super::route::{Route, RouteLabels, RouteSeries};
use super::series::{Kind, Series};
use super::upstream::{Upstream, UpstreamSeries};

/// All numbers of the process. Shared by the control thread and the workers.
///
/// The registry itself keeps no series alive: a series stays while a snapshot or a meter holds it, and is gone from
/// the next reading after the last one let go. A route that keeps its name and upstream over a reload keeps its
/// numbers, because the new snapshot asks for it before the old one goes.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    process: Process,
    routes: Mutex<Family<Route>>,
    upstreams: Mutex<Family<Upstream>>,
    endpoints: Mutex<Family<Endpoint>>,
    listeners: Mutex<Family<Listener>>,
}

impl Registry {
    /// A registry for workers 0 to `workers` - 1; the process counts as started now.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            process: Process::new(),
            routes: Mutex::default(),
            upstreams: Mutex::default(),
            endpoints: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    /// How many workers have stripes.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Numbers of the process as a whole.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The series of the route of that name with that upstream (none where the gateway answers by itself).
    pub fn route(&self, route: &str, upstream: Option<&str>) -> Arc<RouteSeries> {
        let labels = RouteLabels { route: route.into(), upstream: upstream.unwrap_or_default().into() };
        lock(&self.routes).series(&labels, self.workers)
    }

    /// The series of the upstream of that name.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamSeries> {
        lock(&self.upstreams).series(&Arc::from(name), self.workers)
    }

    /// The series of that endpoint of the upstream of that name.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> Arc<EndpointSeries> {
        let labels = EndpointLabels { upstream: upstream.into(), endpoint: endpoint.into() };
        lock(&self.endpoints).series(&labels, self.workers)
    }

    /// The series of the listener of that name.
    pub fn listener(&self, name: &str) -> Arc<ListenerSeries> {
        lock(&self.listeners).series(&Arc::from(name), self.workers)
    }

    /// All route series in use, ordered by their labels.
    pub fn routes(&self) -> Vec<Arc<RouteSeries>> {
        lock(&self.routes).live()
    }

    /// All upstream series in use, ordered by name.
    pub fn upstreams(&self) -> Vec<Arc<UpstreamSeries>> {
        lock(&self.upstreams).live()
    }

    /// All listener series in use, ordered by name.
    pub fn listeners(&self) -> Vec<Arc<ListenerSeries>> {
        lock(&self.listeners).live()
    }
}

/// Only the control thread comes here, and no change is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The series of one kind. Holds at most twice as many entries as were alive at the last sweep, and a few.
struct Family<K: Kind> {
    by_labels: HashMap<K::Labels, Weak<Series<K>>>,
    sweep_at: usize,
}

/// A family below this size is not worth a sweep.
const SMALLEST_SWEEP: usize = 64;

impl<K: Kind<Labels: Clone + Eq + Hash + Ord>> Family<K> {
    fn series(&mut self, labels: &K::Labels, workers: usize) -> Arc<Series<K>> {
        if let Some(series) = self.by_labels.get(labels).and_then(Weak::upgrade) {
            return series;
        }
        self.sweep_when_full();
        let series = Arc::new(Series::new(labels.clone(), workers));
        self.by_labels.insert(labels.clone(), Arc::downgrade(&series));
        series
    }

    /// Sweeping when the size has doubled costs a constant share of each insertion, also for ten thousand routes.
    fn sweep_when_full(&mut self) {
        if self.by_labels.len() >= self.sweep_at {
            self.by_labels.retain(|_, series| series.strong_count() > 0);
            self.sweep_at = (2 * self.by_labels.len()).max(SMALLEST_SWEEP);
        }
    }

    fn live(&mut self) -> Vec<Arc<Series<K>>> {
        let mut live: Vec<_> = self.by_labels.values().filter_map(Weak::upgrade).collect();
        live.sort_by(|one, other| one.labels().cmp(other.labels()));
        live
    }
}

impl<K: Kind> Default for Family<K> {
    fn default() -> Self {
        Self { by_labels: HashMap::new(), sweep_at: SMALLEST_SWEEP }
    }
}

impl<K: Kind> std::fmt::Debug for Family<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Family").field("entries", &self.by_labels.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_keeps_its_numbers_while_anyone_holds_it() {
        let registry = Registry::new(1);
        let old = registry.route("users", Some("app"));
        old.meter(0).finished(200, Duration::ZERO, 0, 0);
        let new = registry.route("users", Some("app"));
        drop(old);
        assert_eq!(registry.route("users", Some("app")).totals().requests(), 1);
        drop(new);
        assert_eq!(registry.route("users", Some("app")).totals().requests(), 0);
    }

    #[test]
    fn another_upstream_is_another_series() {
        let registry = Registry::new(1);
        let (app, none) = (registry.route("users", Some("app")), registry.route("users", None));
        app.meter(0).finished(200, Duration::ZERO, 0, 0);
        assert_eq!(none.totals().requests(), 0);
        assert_eq!(none.labels().upstream.as_ref(), "");
    }

    #[test]
    fn a_meter_keeps_a_removed_series_until_its_request_has_ended() {
        let registry = Registry::new(1);
        let meter = registry.upstream("app").meter(0);
        assert_eq!(registry.upstreams().len(), 1);
        drop(meter);
        assert!(registry.upstreams().is_empty());
    }

    #[test]
    fn readings_are_ordered_by_name() {
        let registry = Registry::new(1);
        let held = ["c", "a", "b"].map(|name| registry.listener(name));
        let names: Vec<_> = registry.listeners().iter().map(|series| series.labels().to_string()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        drop(held);
    }

    #[test]
    fn thousands_of_reloads_with_new_names_stay_small() {
        let registry = Registry::new(1);
        let mut snapshot = Vec::new();
        for generation in 0..2_000 {
            let next: Vec<_> = (0..50).map(|n| registry.route(&format!("r{n}-{generation}"), None)).collect();
            snapshot = next;
            let entries = lock(&registry.routes).by_labels.len();
            assert!(entries <= 2 * 100 + SMALLEST_SWEEP, "{entries} entries");
        }
        assert_eq!(registry.routes().len(), snapshot.len());
    }
}
