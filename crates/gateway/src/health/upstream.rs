//! The endpoints of one upstream.

use super::alarm::Alarm;
use super::ejection::{self, Change, Seen};
use super::endpoint::{Endpoint, Record};
use super::probing::Verdict;
use super::report::{EndpointReport, Report};
use crate::config::plan;
use crate::stats::Registry;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tidegate_wire::tls::Fingerprint;

/// The health of the endpoints of one upstream, under one configuration.
pub struct Health {
    upstream: Arc<str>,
    meaning: Meaning,
    pub(super) outlier: Option<plan::Outlier>,
    pub(super) alarm: Arc<Alarm>,
    /// Every endpoint once, however often it is written.
    members: Vec<Member>,
    /// For each endpoint of the plan, which member it is.
    places: Vec<usize>,
}

/// An endpoint as this configuration sees it.
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    /// Since when it gets no new requests because somebody wrote so.
    pub(super) drains: Option<SystemTime>,
}

/// What an endpoint stands for besides its address. What is known about one holds while this is the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meaning {
    pub(crate) check: Option<plan::HealthCheck>,
    pub(crate) protocol: plan::UpstreamProtocol,
    pub(crate) tls: Option<plan::UpstreamTls>,
    /// Of the files that `tls` names.
    pub(crate) identity: Option<Fingerprint>,
}

impl Health {
    /// Endpoints that `previous` knows under the same address go on, if they still stand for the same.
    pub(crate) fn new(
        upstream: &plan::Upstream,
        meaning: Meaning,
        alarm: &Arc<Alarm>,
        registry: &Registry,
        previous: Option<&Self>,
    ) -> Self {
        let mut health = Self {
            upstream: Arc::clone(&upstream.name),
            meaning,
            outlier: upstream.outlier.clone(),
            alarm: Arc::clone(alarm),
            members: Vec::new(),
            places: Vec::new(),
        };
        for written in &upstream.endpoints {
            let address = written.to_string();
            let place = health.members.iter().position(|member| *member.endpoint.address == *address);
            let place = place.unwrap_or_else(|| {
                health.members.push(health.member(address, registry, previous));
                health.members.len() - 1
            });
            health.places.push(place);
            let before = previous.and_then(|previous| previous.find(&health.members[place].endpoint.address));
            if written.drain {
                let since = before.and_then(|member| member.drains).unwrap_or_else(SystemTime::now);
                health.members[place].drains = Some(since);
            } else if before.is_some_and(|member| member.drains.is_some()) {
                health.members[place].endpoint.begin(Instant::now());
            }
        }
        health
    }

    fn member(&self, address: String, registry: &Registry, previous: Option<&Self>) -> Member {
        let before = previous.and_then(|previous| previous.find(&address)).map(|member| &member.endpoint);
        let same = previous.is_some_and(|previous| previous.meaning == self.meaning);
        let endpoint = match before {
            Some(before) if same => Arc::clone(before),
            before => {
                let series = registry.endpoint(&self.upstream, &address);
                let tallies = before.map(|before| Arc::clone(&before.tallies)).unwrap_or_default();
                let endpoint = Endpoint::new(address.into(), series, tallies);
                match (before, previous) {
                    (Some(before), _) => endpoint.succeed(before),
                    // One that comes by a reload is as new as one that comes back.
                    (None, Some(_)) => endpoint.begin(Instant::now()),
                    (None, None) => {}
                }
                Arc::new(endpoint)
            }
        };
        Member { endpoint, drains: None }
    }

    fn find(&self, address: &str) -> Option<&Member> {
        self.members.iter().find(|member| *member.endpoint.address == *address)
    }

    /// The name of the upstream.
    pub(crate) fn upstream(&self) -> &Arc<str> {
        &self.upstream
    }

    /// What is asked of the endpoints.
    pub(crate) fn check(&self) -> Option<&plan::HealthCheck> {
        self.meaning.check.as_ref()
    }

    /// Every endpoint once, with its place in the plan.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (usize, &Arc<Endpoint>)> {
        self.members.iter().enumerate().map(|(number, member)| {
            let place = self.places.iter().position(|place| *place == number);
            (place.unwrap_or_default(), &member.endpoint)
        })
    }

    pub(super) fn member_at(&self, place: usize) -> &Member {
        &self.members[self.places[place]]
    }

    /// How long requests are counted before endpoints are compared, where they are.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let rate = self.outlier.as_ref()?.success_rate.as_ref()?;
        (self.members.len() >= rate.min_hosts).then_some(rate.interval)
    }

    /// Ejects whom it should and lets return who may; `compare` says that an interval has ended. Returns when to look
    /// again, if nothing happens before.
    ///
    /// Only one thread may call this for all that share endpoints.
    pub(crate) fn judge(&self, now: Instant, compare: bool) -> Option<Instant> {
        let mut records: Vec<_> = self.members.iter().map(|member| member.endpoint.record()).collect();
        let seen = self.members.iter().zip(&mut records);
        let seen: Vec<_> = seen.map(|(member, record)| member.see(record, compare)).collect();
        let mut ejections: Vec<_> = records.iter().map(|record| record.ejection).collect();
        let changes = ejection::judge(self.outlier.as_ref(), now, &mut ejections, &seen);
        for (record, ejection) in records.iter_mut().zip(&ejections) {
            record.ejection = *ejection;
        }
        for (index, change) in changes {
            self.tell(&self.members[index].endpoint, change, now, &mut records[index]);
        }
        ejections.iter().filter_map(|ejection| Some(ejection.current()?.0)).min()
    }

    fn tell(&self, endpoint: &Endpoint, change: Change, now: Instant, record: &mut MutexGuard<'_, Record>) {
        endpoint.forgive();
        endpoint.publish(record, now);
        let (upstream, address) = (&self.upstream, &endpoint.address);
        match change {
            Change::Ejected(reason) => {
                endpoint.tallies.ejections[reason as usize].fetch_add(1, Relaxed);
                let length = record.ejection.current().map(|(until, _)| until - now).unwrap_or_default();
                tracing::warn!(%upstream, endpoint = %address, reason = reason.as_str(), ?length, "endpoint ejected");
            }
            Change::Returned => tracing::info!(%upstream, endpoint = %address, "endpoint returned"),
        }
    }

    /// What is known of each endpoint.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let endpoints = self.members.iter().map(|member| EndpointReport::of(member, now)).collect();
        Report { upstream: Arc::clone(&self.upstream), endpoints }
    }
}

impl Member {
    fn see(&self, record: &mut Record, compare: bool) -> Seen {
        let counted = compare.then(|| {
            let totals = self.endpoint.series.totals();
            let before = std::mem::replace(&mut record.compared, (totals.succeeded, totals.failed));
            (totals.succeeded.wrapping_sub(before.0), totals.failed.wrapping_sub(before.1))
        });
        Seen {
            failures_in_a_row: self.endpoint.failures_in_a_row(),
            counted,
            drains: self.drains.is_some(),
            unhealthy: record.probing.verdict() == Verdict::Unhealthy,
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}
