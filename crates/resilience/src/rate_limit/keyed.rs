//! A rate limiter for each key, in bounded memory.
//!
//! Keys are spread over shards by their hash; a key that is known is found under a shared lock. A new key in a full
//! shard takes the place of one that has all of its quota back, and so loses nothing by being forgotten; a hand goes
//! round and looks at a few for each new key, so that a flood of keys costs each of them as much as any other. Where it
//! finds none, new keys share one quota of the shard: nobody gains a fresh allowance by making up keys.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::call::Call;
use crate::clock::{Clock, Moment, Reading};
use crate::error::{Code, InvalidOption, Rejection};
use crate::event::{Emitter, Happening};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::policy::{Admission, Environment, Guard, Mode, Ticket};
use crate::sync::atomic::{AtomicU64, Ordering};

use super::meter::Meter;
use super::options::RateLimitOptions;
use super::policy::{Figures, RateLimitStats, RateLimitStatus, admission, rejection};
use super::state::{Rule, Taken};

/// The most shards: enough that threads rarely meet in one.
const MOST_SHARDS: usize = 64;

/// The fewest keys that make another shard worth while.
const KEYS_PER_SHARD: usize = 256;

/// How many keys the hand looks at for a new one.
const LOOKS: usize = 8;

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
#[derive(Clone)]
pub struct KeyedRateLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ArcSwap<Settings>,
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    figures: Figures,
    evicted: AtomicU64,
    crowded: AtomicU64,
    clock: Clock,
    emitter: Emitter,
}

#[derive(Clone)]
struct Settings {
    options: RateLimitOptions,
    rule: Rule,
}

struct Shard {
    /// Places in `entries` by the hash of their key.
    table: HashTable<u32>,
    entries: Vec<Entry>,
    /// Where the hand is.
    hand: usize,
    /// What new keys share while there is no place for them.
    crowd: Meter,
}

struct Entry {
    hash: u64,
    key: Box<str>,
    meter: Meter,
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
    /// How many keys gave way to new ones; each had all of its quota.
    pub evicted: u64,
    /// How many calls of new keys found no place and shared a quota.
    pub crowded: u64,
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
        let rule = options.rule()?;
        let shards = (options.max_keys as usize / KEYS_PER_SHARD).next_power_of_two().clamp(1, MOST_SHARDS);
        Ok(Self {
            inner: Arc::new(Inner {
                settings: ArcSwap::from_pointee(Settings { options: options.clone(), rule }),
                shards: (0..shards).map(|_| RwLock::new(Shard::new(&rule))).collect(),
                hasher: RandomState::default(),
                figures: Figures::default(),
                evicted: AtomicU64::new(0),
                crowded: AtomicU64::new(0),
                clock: environment.clock.clone(),
                emitter: environment.emitter(&name.into()),
            }),
        })
    }

    /// Puts other options in force. What every key has used stays used, up to the new limit. With fewer `max_keys` than
    /// are followed, keys give way as new ones come.
    ///
    /// # Errors
    ///
    /// An option is out of its range, or there is not exactly one algorithm; the options before stay in force.
    pub fn reconfigure(&self, options: &RateLimitOptions) -> Result<(), InvalidOption> {
        let rule = options.rule()?;
        let inner = &*self.inner;
        // No call can be between the old rule and the new meters: every shard is held until both are there.
        let mut shards: Vec<_> = inner.shards.iter().map(RwLock::write).collect();
        let before = inner.settings.swap(Arc::new(Settings { options: options.clone(), rule }));
        if before.rule != rule {
            let now = inner.clock.now().as_nanos();
            shards.iter_mut().for_each(|shard| shard.convert(&before.rule, &rule, now));
        }
        Ok(())
    }

    /// The options in force.
    pub fn options(&self) -> RateLimitOptions {
        self.inner.settings.load().options.clone()
    }

    /// What is left of the limit of this key; all of it where the key is not known.
    pub fn status(&self, key: &str) -> RateLimitStatus {
        let now = self.inner.clock.now().as_nanos();
        let hash = self.inner.hasher.hash_one(key);
        let shard = self.inner.shard(hash).read();
        let rule = self.inner.settings.load().rule;
        match shard.find(hash, key) {
            Some(entry) => RateLimitStatus::of(&rule, &entry.meter, now),
            None => RateLimitStatus::of(&rule, &Meter::new(&rule, 0, now), now),
        }
    }

    /// Gives `cost` back to this key, as if it had not been taken.
    pub fn refund(&self, key: &str, cost: u32) {
        self.inner.give(self.inner.hasher.hash_one(key), cost, self.inner.clock.now().as_nanos());
    }

    /// Forgets what this key has used.
    pub fn reset(&self, key: &str) {
        let hash = self.inner.hasher.hash_one(key);
        if let Some(entry) = self.inner.shard(hash).read().find(hash, key) {
            entry.meter.reset();
        }
        self.inner.emitter.emit(&Reading::of(&self.inner.clock), || Happening::RateReset);
    }

    /// What it has done since it was made.
    pub fn stats(&self) -> KeyedRateLimitStats {
        let keys: usize = self.inner.shards.iter().map(|shard| shard.read().entries.len()).sum();
        KeyedRateLimitStats {
            calls: self.inner.figures.stats(),
            keys: keys as u64,
            max_keys: u64::from(self.inner.settings.load().options.max_keys),
            evicted: self.inner.evicted.load(Ordering::Relaxed),
            crowded: self.inner.crowded.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // The table inside goes by the lower and the topmost bits; shards go by others.
        let index = usize::try_from((hash >> 40) & 0xffff).unwrap_or(0) & (self.shards.len() - 1);
        &self.shards[index]
    }

    #[inline]
    fn take(&self, call: &Call<'_>, now: &Reading<'_>, patient: bool) -> Result<(Ticket, u64), Rejection> {
        let Some(key) = call.key_name() else {
            return Err(Rejection::new(Code::RateKeyMissing, self.emitter.policy()));
        };
        let moment = now.moment().as_nanos();
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        let known = {
            let shard = shard.read();
            let settings = self.settings.load();
            if settings.options.mode == Mode::Disabled {
                return Ok((Ticket::BLANK, 0));
            }
            let take = |entry: &Entry| entry.meter.take(&settings.rule, moment, call.weight(), patient);
            shard.find(hash, key).map(|entry| (take(entry), settings.rule.limit(), settings.options.mode))
        };
        let (taken, limit, mode) = match known {
            Some(known) => known,
            None => self.take_new(hash, key, moment, call, patient),
        };
        let answer = self.figures.answer(taken, limit, call, mode, now, &self.emitter);
        // The hash finds the key again when the call is over.
        answer.map(|(ticket, after)| (Ticket { at: Moment::from_nanos(hash), ..ticket }, after))
    }

    /// The first call of a key.
    fn take_new(&self, hash: u64, key: &str, now: u64, call: &Call<'_>, patient: bool) -> (Taken, u32, Mode) {
        let mut shard = self.shard(hash).write();
        let settings = self.settings.load();
        let (rule, mode) = (settings.rule, settings.options.mode);
        let most = (settings.options.max_keys as usize).div_ceil(self.shards.len());
        let place = match shard.place(hash, key) {
            Some(place) => Some(place),
            None => {
                let evicted = shard.make_room(most, &rule, now);
                self.evicted.fetch_add(evicted, Ordering::Relaxed);
                (shard.entries.len() < most).then(|| shard.insert(hash, key, &rule, now))
            }
        };
        let taken = match place {
            Some(place) => shard.entries[place].meter.take(&rule, now, call.weight(), patient),
            None => {
                self.crowded.fetch_add(1, Ordering::Relaxed);
                shard.crowd.take(&rule, now, call.weight(), patient)
            }
        };
        (taken, rule.limit(), mode)
    }

    fn give(&self, hash: u64, cost: u32, now: u64) {
        let shard = self.shard(hash).read();
        let rule = self.settings.load().rule;
        let found = shard.table.find(hash, |place| shard.entries[*place as usize].hash == hash);
        match found {
            Some(place) => shard.entries[*place as usize].meter.give(&rule, now, cost),
            None => shard.crowd.give(&rule, now, cost),
        }
    }
}

impl Shard {
    fn new(rule: &Rule) -> Self {
        Self { table: HashTable::new(), entries: Vec::new(), hand: 0, crowd: Meter::new(rule, 0, 0) }
    }

    #[inline]
    fn find(&self, hash: u64, key: &str) -> Option<&Entry> {
        self.place(hash, key).map(|place| &self.entries[place])
    }

    #[inline]
    fn place(&self, hash: u64, key: &str) -> Option<usize> {
        let same = |place: &u32| {
            let entry = &self.entries[*place as usize];
            entry.hash == hash && *entry.key == *key
        };
        self.table.find(hash, same).map(|place| *place as usize)
    }

    fn insert(&mut self, hash: u64, key: &str, rule: &Rule, now: u64) -> usize {
        let place = self.entries.len();
        self.entries.push(Entry { hash, key: key.into(), meter: Meter::new(rule, 0, now) });
        let entries = &self.entries;
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        self.table.insert_unique(hash, number, |place| entries[*place as usize].hash);
        place
    }

    /// Looks at a few keys, where there are as many as may be, and forgets those that have all of their quota. Returns
    /// how many.
    fn make_room(&mut self, most: usize, rule: &Rule, now: u64) -> u64 {
        let mut forgotten = 0;
        for _ in 0..LOOKS {
            if self.entries.len() < most || self.entries.is_empty() {
                break;
            }
            self.hand %= self.entries.len();
            if self.entries[self.hand].meter.rest(rule, now) == 0 {
                self.forget(self.hand);
                forgotten += 1;
            } else {
                self.hand += 1;
            }
        }
        forgotten
    }

    /// Forgets the key at this place; the last one takes it.
    fn forget(&mut self, place: usize) {
        let last = self.entries.len() - 1;
        for (of, to) in [(place, None), (last, Some(place))] {
            let hash = self.entries[of].hash;
            let found = self.table.find_entry(hash, |found| *found as usize == of);
            match (found, to) {
                (Ok(mut found), Some(to)) => *found.get_mut() = u32::try_from(to).unwrap_or(u32::MAX),
                (Ok(found), None) => _ = found.remove(),
                (Err(_), _) => {}
            }
        }
        self.entries.swap_remove(place);
    }

    fn convert(&mut self, from: &Rule, to: &Rule, now: u64) {
        for meter in self.entries.iter_mut().map(|entry| &mut entry.meter).chain([&mut self.crowd]) {
            *meter = Meter::new(to, meter.used(from, now), now);
        }
    }
}

impl Guard for KeyedRateLimiter {
    fn name(&self) -> &Name {
        self.inner.emitter.policy()
    }

    fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn peek(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<(), Rejection> {
        let Some(key) = call.key_name() else {
            return Err(Rejection::new(Code::RateKeyMissing, self.name()));
        };
        let hash = self.inner.hasher.hash_one(key);
        let shard = self.inner.shard(hash).read();
        let settings = self.inner.settings.load();
        let Some(entry) = shard.find(hash, key).filter(|_| settings.options.mode == Mode::Enabled) else {
            return Ok(());
        };
        match entry.meter.peek(&settings.rule, now.moment().as_nanos(), call.weight(), true) {
            Taken::Admitted { .. } => Ok(()),
            taken => Err(rejection(taken, settings.rule.limit(), call, self.name())),
        }
    }

    #[inline]
    fn try_admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Result<Ticket, Rejection> {
        self.inner.take(call, now, false).map(|(ticket, _)| ticket)
    }

    #[inline]
    fn admit(&self, call: &Call<'_>, now: &Reading<'_>) -> Admission {
        admission(self.inner.take(call, now, true), now)
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome, now: &Reading<'_>) {
        if outcome == Outcome::Rejected && ticket.amount > 0 {
            let cost = u32::try_from(ticket.amount).unwrap_or(u32::MAX);
            self.inner.give(ticket.at.as_nanos(), cost, now.moment().as_nanos());
        }
    }
}

impl fmt::Debug for KeyedRateLimiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyedRateLimiter").field("name", self.name()).field("stats", &self.stats()).finish()
    }
}
