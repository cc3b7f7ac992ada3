//! The pure core: from what was measured in a window to the next limit.
//!
//! Latencies are nanoseconds in `f64`, and so is the limit: it grows by less than one.
//!
//! Invariant: the limit is a number from `min` to `max`, whatever was measured.

use std::time::Duration;

use crate::clock::Moment;
use crate::outcome::Outcome;

use super::options::{AdaptiveAlgorithm, Gradient, Settings, Vegas};

/// So many windows count in the latency without load (Gradient2: 600).
const LONG: f64 = 600.0;
/// Of so many windows at the beginning it is the plain average (Gradient2: 10).
const WARM_UP: u32 = 10;
/// So many calls measure the latency without load (Envoy, failsafe-go: 50).
const PROBE_SAMPLES: u32 = 50;
/// A window lasts at most so many times as long as it should.
const LONGEST_WINDOW: u32 = 30;

/// What a call says about how much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    /// It took as long as it did.
    Latency,
    /// There is too much to do.
    Drop,
}

/// From when on a call is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slow {
    pub(super) from: Duration,
    /// Whether that alone says that there is too much to do.
    pub(super) drops: bool,
}

impl Slow {
    /// What a call says that ended like this.
    ///
    /// A slow failure is as good as a timeout. A quick one says nothing: it would make the service look quick.
    #[inline]
    pub(super) fn sample(self, outcome: Outcome, latency: Duration) -> Option<Sample> {
        let slow = latency > self.from;
        match outcome {
            Outcome::Overload => Some(Sample::Drop),
            Outcome::Failure if slow => Some(Sample::Drop),
            Outcome::Success if slow && self.drops => Some(Sample::Drop),
            Outcome::Success => Some(Sample::Latency),
            _ => None,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Window {
    /// How many latencies there were.
    pub(super) samples: u32,
    /// Their average in nanoseconds, more than zero; meaningless without any.
    pub(super) mean: f64,
    /// How many calls said that there is too much to do.
    pub(super) drops: u32,
    /// How many calls ran at most.
    pub(super) peak: u32,
}

impl Window {
    fn drop_share(&self) -> f64 {
        let drops = f64::from(self.drops);
        drops / (drops + f64::from(self.samples)).max(1.0)
    }
}

/// What holds until the next window closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Order {
    pub(super) limit: u32,
    /// The window closes at this moment,
    pub(super) closes_at: Moment,
    /// or when so many calls have ended in it, if that is later.
    pub(super) needed: u32,
    /// Only calls that began at this moment or later are measured.
    pub(super) counts_from: Moment,
    pub(super) slow: Slow,
}

/// A limit that learns.
#[derive(Debug)]
pub(super) struct Limit {
    settings: Settings,
    limit: f64,
    /// The latency without load; zero before anything was measured.
    no_load: f64,
    /// The average latency of the last window that had any; zero before.
    latency: f64,
    /// How many windows the latency without load was learnt from, up to [`WARM_UP`].
    learnt: u32,
    /// When the latency without load must be measured on purpose, if it was not seen by chance.
    probe_at: Moment,
    /// When the probe began that goes on now, or the last one did.
    probe_began: Moment,
    probe: Probe,
}

/// How the latency without load is measured on purpose: with half the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    No,
    /// Calls from before end. What has begun since is not measured yet: the first to end are the quick ones.
    Settling,
    Measuring,
}

impl Limit {
    pub(super) fn new(settings: Settings, now: Moment) -> Self {
        Self {
            limit: f64::from(settings.initial),
            no_load: 0.0,
            latency: 0.0,
            learnt: 0,
            // What is seen at first may be a loaded service.
            probe_at: now.after(soon(&settings)),
            probe_began: Moment::ORIGIN,
            probe: Probe::No,
            settings,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The latency without load, and that of the last window, where known.
    pub(super) fn latencies(&self) -> [Option<Duration>; 2] {
        [self.no_load, self.latency].map(|latency| (latency > 0.0).then(|| duration(latency)))
    }

    /// Takes over other settings. The limit stays where it still may be, and so does what was learnt.
    pub(super) fn change(&mut self, settings: Settings, now: Moment) -> Order {
        self.settings = settings;
        self.limit = self.clamp(self.limit);
        if !self.probes() {
            self.probe = Probe::No;
        }
        self.probe_at = self.probe_at.min(now.after(soon(&self.settings)));
        self.order(now)
    }

    /// Thinks the limit over at the end of a window. `chance` is from 0 to 1.
    pub(super) fn close(&mut self, window: &Window, now: Moment, chance: f64) -> Order {
        if window.samples > 0 {
            self.latency = window.mean;
        }
        match self.probe {
            Probe::No => self.think(window, now, chance),
            Probe::Settling => self.probe = Probe::Measuring,
            Probe::Measuring => self.end_probe(window, now, chance),
        }
        self.order(now)
    }

    fn think(&mut self, window: &Window, now: Moment, chance: f64) {
        let busy = f64::from(window.peak) * 2.0 >= self.limit.floor();
        if !busy {
            self.probe_later(now, chance);
        }
        self.learn(window, busy);
        if busy || window.drops > 0 {
            self.limit = self.clamp(self.next(window));
        }
        if self.probes() && now >= self.probe_at {
            (self.probe, self.probe_began) = (Probe::Settling, now);
        }
    }

    /// What holds from now on.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from `min` to `max`, which are u32")]
    pub(super) fn order(&self, now: Moment) -> Order {
        let settings = &self.settings;
        let limit = self.limit as u32;
        let half = (limit / 2).max(settings.min);
        let (limit, needed) = match self.probe {
            Probe::No => (limit, settings.min_samples),
            Probe::Settling => (half, settings.min_samples),
            Probe::Measuring => (half, settings.min_samples.max(PROBE_SAMPLES)),
        };
        let wait = duration(self.latency * 2.0).clamp(settings.window, settings.window * LONGEST_WINDOW);
        Order { limit, needed, closes_at: now.after(wait), counts_from: self.probe_began, slow: self.slow() }
    }

    fn slow(&self) -> Slow {
        let times = match &self.settings.algorithm {
            AdaptiveAlgorithm::Aimd(aimd) => return Slow { from: aimd.too_long, drops: true },
            AdaptiveAlgorithm::Gradient(gradient) => gradient.tolerance,
            AdaptiveAlgorithm::Vegas(_) => 2.0,
        };
        let from = if self.no_load > 0.0 { duration(self.no_load * times) } else { Duration::MAX };
        Slow { from, drops: false }
    }

    fn clamp(&self, limit: f64) -> f64 {
        limit.clamp(f64::from(self.settings.min), f64::from(self.settings.max))
    }

    /// Learns the latency without load. A loaded service may say that it is lower than thought, and never that it is
    /// higher, as long as probes can.
    fn learn(&mut self, window: &Window, busy: bool) {
        let mean = window.mean;
        if window.samples == 0 {
            return;
        }
        if self.learnt < WARM_UP {
            self.learnt += 1;
            self.no_load += (mean - self.no_load) / f64::from(self.learnt);
        } else if mean < self.no_load || !busy || !self.probes() {
            self.no_load += (mean - self.no_load) * 2.0 / (LONG + 1.0);
            // Gradient2: after a long overload, the average alone would take too long.
            if self.no_load > mean * 2.0 {
                self.no_load *= 0.9;
            }
        }
    }

    fn next(&self, window: &Window) -> f64 {
        match &self.settings.algorithm {
            AdaptiveAlgorithm::Gradient(gradient) => self.by_gradient(gradient, window),
            AdaptiveAlgorithm::Vegas(vegas) => self.by_vegas(vegas, window),
            AdaptiveAlgorithm::Aimd(aimd) if window.drops > 0 => {
                (self.limit * aimd.backoff.get()).min(self.limit - 1.0)
            }
            AdaptiveAlgorithm::Aimd(_) => self.limit + 1.0,
        }
    }

    fn by_gradient(&self, gradient: &Gradient, window: &Window) -> f64 {
        let by_latency = match window.samples {
            0 => 1.0,
            _ => (gradient.tolerance * self.no_load / window.mean).clamp(0.5, 1.0),
        };
        let drops = window.drop_share();
        // RFC 8257 section 3.3. What is left of the room for a queue keeps a stray drop from mattering.
        let by_drops = 1.0 - drops / 2.0;
        let queue = f64::from(gradient.queue_size) * (1.0 - drops);
        let next = self.limit * by_latency.min(by_drops) + queue;
        self.limit + (next - self.limit) * gradient.smoothing.get()
    }

    fn by_vegas(&self, vegas: &Vegas, window: &Window) -> f64 {
        let step = self.limit.log10().max(1.0);
        let (alpha, beta) = (f64::from(vegas.alpha) * step, f64::from(vegas.beta) * step);
        let queue = (self.limit * (1.0 - self.no_load / window.mean)).ceil();
        match () {
            () if window.drops > 0 || queue > beta => self.limit - step,
            () if queue <= step => self.limit + beta,
            () if queue < alpha => self.limit + step,
            () => self.limit,
        }
    }

    /// Whether the latency without load is wanted and may be measured on purpose.
    fn probes(&self) -> bool {
        self.settings.probe.is_some() && !matches!(self.settings.algorithm, AdaptiveAlgorithm::Aimd(_))
    }

    fn end_probe(&mut self, window: &Window, now: Moment, chance: f64) {
        self.probe = Probe::No;
        self.probe_later(now, chance);
        if window.samples > window.drops {
            // Half of a limit that is far too high is too high: what was measured is then not yet without load.
            if window.mean < self.no_load * 0.8 {
                self.probe_at = now.after(soon(&self.settings));
            }
            self.no_load = window.mean;
        }
    }

    fn probe_later(&mut self, now: Moment, chance: f64) {
        let interval = self.settings.probe.unwrap_or(Duration::MAX);
        self.probe_at = now.after(duration(interval.as_nanos() as f64 * (0.75 + chance / 2.0)));
    }
}

/// The time to a probe that need not wait for its turn.
fn soon(settings: &Settings) -> Duration {
    settings.probe.unwrap_or(Duration::MAX) / 10
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates")]
fn duration(nanos: f64) -> Duration {
    Duration::from_nanos(nanos as u64)
}

/// How many of `limit` calls may be of a kind that may use this share of it. With any share, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most `limit`")]
pub(super) fn room(limit: u32, share: f64) -> u32 {
    // 0.15 of 20 is 3, although it is not with binary fractions.
    let room = (f64::from(limit) * share + 1e-6) as u32;
    if share > 0.0 { room.max(1) } else { 0 }
}
