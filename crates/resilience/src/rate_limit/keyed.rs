//! A rate limiter for each key.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::{InvalidOption, Rejection};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Mode, Ticket};

use super::key::{Digests, Sought};
use super::options::{RateLimitOptions, Settings};
use super::policy::RateLimitStats;
use super::shard::{self, Answer, Seat, Shard};
use super::shell::{RateLimitStatus, Refusal, Shell};
use super::state::{Algorithm, Demand, Rule, low_half};

/// The most shards: enough that threads rarely meet in one.
const MOST_SHARDS: usize = 256;

/// So many keys make another shard worth while.
const KEYS_PER_SHARD: usize = 1024;

/// Admits so many calls of each key in a time; the key is that of the [`Call`]. Cheap to clone: clones are the same.
///
/// ```
/// use tidegate_resilience::{Call, Guard, KeyedRateLimiter, RateLimitOptions};
///
/// let limiter = KeyedRateLimiter::new("per-tenant", &RateLimitOptions::per_second(1))?;
/// assert!(limiter.try_acquire_for(&Call::new().key("ann")).is_ok());
/// assert!(limiter.try_acquire_for(&Call::new().key("ann")).is_err());
/// assert!(limiter.try_acquire_for(&Call::new().key("bob")).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Many keys
///
/// It follows at most `max_keys`, with 64 bytes or less for each beside the key itself; in an exact sliding window 40
/// more, and 8 for each call of the limit. When there are as many, a new key takes the place of one that has all of its
/// quota back and so loses nothing by being forgotten. Where no such key is found quickly, new keys share one quota,
/// about a `max_keys`th of all that is followed for each shard; once a place is found for one of them, it begins with
/// what they have used together. So nobody gains anything by making up keys, and who is followed already does not notice.
///
/// Keys of more than 256 bytes are told apart by a digest of 128 bits.
///
/// For keys with different limits, have one limiter for each kind.
#[derive(Clone)]
pub struct KeyedRateLimiter {
    inner: Arc<Inner>,
}

/// What a keyed limiter has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyedRateLimitStats {
    /// All keys together.
    pub calls: RateLimitStats,
    /// How many keys it follows.
    pub keys: u64,
    /// How many it may follow.
    pub max_keys: u64,
    /// How many keys were forgotten; each had all of its quota.
    pub evicted: u64,
    /// How many calls of keys that are not followed shared a quota.
    pub crowded: u64,
}

struct Inner {
    shell: Shell,
    hasher: RandomState,
    digests: Digests,
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    /// Held by whoever changes the options.
    options: Mutex<(RateLimitOptions, Settings)>,
}

impl KeyedRateLimiter {
    /// A limiter by the clock of the machine.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm.
    pub fn new(name: impl Into<Name>, options: &RateLimitOptions) -> Result<Self, InvalidOption> {
        Self::in_environment(name, options, &Environment::default())
    }

    /// A limiter in this environment.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm.
    pub fn in_environment(
        name: impl Into<Name>,
        options: &RateLimitOptions,
        environment: &Environment,
    ) -> Result<Self, InvalidOption> {
        let settings = Settings::try_from(options)?;
        let rule = Rule { generation: 0, algorithm: Algorithm::new(settings.limit, environment.clock.now()) };
        let shards = (settings.max_keys as usize / KEYS_PER_SHARD).next_power_of_two().clamp(1, MOST_SHARDS);
        let capacity = capacity(settings.max_keys, shards);
        let inner = Inner {
            shell: Shell::new(&name.into(), settings.mode, environment),
            hasher: RandomState::default(),
            digests: Digests::default(),
            shards: (0..shards).map(|_| CachePadded::new(Mutex::new(Shard::new(rule, capacity)))).collect(),
            options: Mutex::new((options.clone(), settings)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Puts other options in force. What every key has used stays used, up to the new limit. With fewer `max_keys` than
    /// are followed, keys are forgotten as they recover and new ones come.
    ///
    /// It goes through all keys, and holds up calls whose keys are in the part that it is at.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm; the options before stay in force.
    pub fn reconfigure(&self, options: &RateLimitOptions) -> Result<(), InvalidOption> {
        let settings = Settings::try_from(options)?;
        let inner = &*self.inner;
        let mut before = inner.options.lock();
        let capacity = capacity(settings.max_keys, inner.shards.len());
        for mut shard in inner.shards() {
            // Once the lock is held: nobody has acted upon a later reading in this shard.
            let now = inner.shell.clock.now();
            let rule = match settings.limit == before.1.limit {
                true => *shard.rule(),
                false => Rule {
                    generation: shard.rule().generation.wrapping_add(1),
                    algorithm: shard.rule().algorithm.successor(settings.limit, now),
                },
            };
            shard.reconfigure(rule, capacity, now);
        }
        inner.shell.set(settings.mode);
        *before = (options.clone(), settings);
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> RateLimitOptions {
        self.inner.options.lock().0.clone()
    }

    /// Admits this call at once or not at all, without a permit: what it takes stays taken, whatever comes of it.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, call: &Call<'_>) -> Result<(), Rejection> {
        self.try_admit(call, &Reading::of(&self.inner.shell.clock)).map(drop)
    }

    /// What is left of the limit of this key.
    pub fn status(&self, key: &str) -> RateLimitStatus {
        let now = self.inner.shell.clock.now();
        let answer = self.inner.peek(key, &Demand { now, cost: 1, patience: None });
        RateLimitStatus::new(&answer.standing, answer.decision, now)
    }

    /// Gives `cost` back to this key, as if it had not been taken.
    pub fn refund(&self, key: &str, cost: u32) {
        let (sought, hash) = self.inner.sought(key);
        self.inner.shard(hash).refund(sought, low_half(hash), cost);
    }

    /// Forgets what this key has used.
    pub fn reset(&self, key: &str) {
        let (sought, hash) = self.inner.sought(key);
        let known = self.inner.shard(hash).reset(sought, low_half(hash));
        if known {
            self.inner.shell.emit_reset();
        }
    }

    /// Forgets every key that has all of its quota back, and gives back the memory of it. Returns how many there were.
    ///
    /// There is no need to call it but to have the memory for something else. Calls that are under way then may give
    /// nothing back.
    pub fn forget_recovered(&self) -> usize {
        let now = self.inner.shell.clock.now();
        self.inner.shards().map(|mut shard| shard.forget(now)).sum()
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> KeyedRateLimitStats {
        let max_keys = u64::from(self.inner.options.lock().1.max_keys);
        let mut stats = KeyedRateLimitStats { max_keys, ..KeyedRateLimitStats::default() };
        for shard in self.inner.shards() {
            stats.calls.allowed += shard.figures.allowed;
            stats.calls.denied += shard.figures.denied;
            stats.keys += shard.len() as u64;
            stats.evicted += shard.figures.evicted;
            stats.crowded += shard.figures.crowded;
        }
        stats
    }

    #[inline]
    fn enter(&self, call: &Call<'_>, now: &Reading<'_>, patience: Option<Moment>) -> Result<Ticket, Rejection> {
        let inner = &*self.inner;
        if inner.shell.is(Mode::Disabled) {
            return Ok(Ticket::BLANK);
        }
        let Some(key) = call.key_name() else { return inner.shell.refused(&Refusal::KEY_MISSING, now) };
        if call.weight() == 0 {
            inner.shell.tell_admitted(call, now);
            return Ok(Ticket::BLANK);
        }
        // The key is hashed while the clock is read, and both before the lock is taken.
        let (sought, hash) = inner.sought(key);
        let demand = Demand { now: now.moment(), cost: call.weight(), patience };
        let taken = inner.shard(hash).take(sought, low_half(hash), &demand);
        match taken {
            Ok(taken) => {
                let amount = inner.amount(hash, taken.seat);
                let ticket = Ticket { generation: taken.generation, kind: demand.cost, at: taken.starts, amount };
                inner.shell.tell_admitted(call, now);
                Ok(inner.shell.ticket(ticket, now))
            }
            Err(refused) => inner.shell.refused(&refused.refusal(&demand), now),
        }
    }
}

/// How many keys each of the shards may follow.
fn capacity(max_keys: u32, shards: usize) -> usize {
    (max_keys as usize / shards).clamp(1, shard::MOST)
}

impl Inner {
    #[inline]
    fn sought<'k>(&self, key: &'k str) -> (Sought<'k>, u64) {
        (self.digests.sought(key), self.hasher.hash_one(key.as_bytes()))
    }

    /// Shards go by the upper half of a hash, keys within them by the lower one.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        low_half(hash >> 32) as usize & (self.shards.len() - 1)
    }

    #[inline]
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards[self.place(hash)].lock()
    }

    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock())
    }

    fn peek(&self, key: &str, demand: &Demand) -> Answer {
        let (sought, hash) = self.sought(key);
        self.shard(hash).peek(sought, low_half(hash), demand)
    }

    /// Where the key stands, as a ticket notes it: 8 bits for the shard, 24 for the place in it, 32 for the serial.
    #[inline]
    fn amount(&self, hash: u64, seat: Seat) -> u64 {
        (self.place(hash) as u64) << 56 | u64::from(seat.place) << 32 | u64::from(seat.serial)
    }
}

impl Guard for KeyedRateLimiter {
    fn name(&self) -> &Name {
        self.inner.shell.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.shell.clock
    }

    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        let inner = &*self.inner;
        if !inner.shell.is(Mode::Enabled) {
            return Ok(());
        }
        let Some(key) = call.key_name() else { return Err(inner.shell.rejection(&Refusal::KEY_MISSING, now)) };
        let demand = Demand { now: now.moment(), cost: call.weight(), patience: Some(call.ends()) };
        if demand.cost == 0 {
            return Ok(());
        }
        let answer = inner.peek(key, &demand);
        match answer.decision.starts(demand.now) {
            Some(_) => Ok(()),
            None => Err(inner.shell.rejection(&answer.refusal(&demand), now)),
        }
    }

    #[inline]
    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        self.enter(call, now, None)
    }

    #[inline]
    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        Shell::admission(self.enter(call, now, Some(call.ends())), now)
    }

    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        if let Some(back) = Shell::returned(&ticket, outcome, now)
            && let Some(shard) = self.inner.shards.get((ticket.amount >> 56) as usize)
        {
            let place = low_half(ticket.amount >> 32) & shard::CROWD;
            let seat = Seat { place, serial: low_half(ticket.amount) };
            shard.lock().untake(seat, ticket.generation, &back);
        }
    }
}

impl fmt::Debug for KeyedRateLimiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyedRateLimiter").field("name", self.name()).field("stats", &self.stats()).finish()
    }
}
