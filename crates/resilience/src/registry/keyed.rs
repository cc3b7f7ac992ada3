//! A pipeline with policies of its own for each key, in bounded memory.
//!
//! The pipeline of a key is made when it is first asked for. Once there are as many as there may be, a new one takes
//! the place of one at [rest](super::rest): nobody holds it and nothing is lost with it. A hand goes round and looks at
//! a few for each new key, so that a flood of keys costs each of them as much as any other; where those it looks at are
//! all at work, the new key is rejected.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::clock::Moment;
use crate::error::{Code, Context, Rejection};
use crate::name::Name;
use crate::pipeline::Pipeline;
use crate::policies::Step;
use crate::policy::Environment;

use super::kinds::PolicyOptions;
use super::rest::is_at_rest;
use super::view::assemble;

/// The most shards: enough that threads rarely meet in one.
const MOST_SHARDS: usize = 16;

/// The fewest keys that make another shard worth while.
const KEYS_PER_SHARD: usize = 256;

/// How many keys the hand looks at for a new one.
const LOOKS: usize = 16;

/// What the pipeline of every key is made of.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) max_keys: u32,
    pub(super) slots: Vec<Slot>,
}

/// One step of a template.
#[derive(Debug)]
pub(super) enum Slot {
    /// The same policy for all keys.
    Shared(Step),
    /// A policy of its own for each key.
    Own(Name, PolicyOptions),
}

/// The keys of one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStats {
    /// The pipeline.
    pub pipeline: Name,
    /// How many keys have policies of their own.
    pub keys: u64,
    /// How many may have.
    pub max_keys: u64,
    /// How many keys gave way to new ones.
    pub evicted: u64,
    /// How often a new key was rejected.
    pub rejected: u64,
}

#[derive(Debug)]
pub(super) struct KeyedPipelines {
    name: Name,
    environment: Environment,
    template: ArcSwap<Template>,
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    /// Relaxed, as all counters here: a place is taken and given back under the lock of the shard that it is for.
    keys: AtomicUsize,
    evicted: AtomicU64,
    rejected: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    /// Places in `entries` by the hash of their key.
    table: HashTable<u32>,
    entries: Vec<Entry>,
    /// Where the hand is.
    hand: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<str>,
    made: Made,
}

/// The pipeline of one key, with its own policies by the names of their slots.
#[derive(Debug)]
struct Made {
    pipeline: Pipeline,
    own: Vec<(Name, Step)>,
}

impl KeyedPipelines {
    pub(super) fn new(name: Name, template: Template, environment: &Environment) -> Self {
        let shards = (template.max_keys as usize / KEYS_PER_SHARD).next_power_of_two().clamp(1, MOST_SHARDS);
        Self {
            name,
            environment: environment.clone(),
            template: ArcSwap::from_pointee(template),
            shards: (0..shards).map(|_| RwLock::default()).collect(),
            hasher: RandomState::default(),
            keys: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    /// The pipeline of this key.
    pub(super) fn pipeline(&self, key: &str) -> Result<Pipeline, Rejection> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        if let Some(entry) = shard.read().find(hash, key) {
            return Ok(entry.made.pipeline.clone());
        }
        let mut shard = shard.write();
        if let Some(entry) = shard.find(hash, key) {
            return Ok(entry.made.pipeline.clone());
        }
        // Read under the lock: a template that comes later finds the entry and changes it.
        let template = self.template.load();
        self.make_room(&mut shard, template.max_keys as usize)?;
        let made = template.make(&self.name, key, &[], &self.environment);
        let pipeline = made.pipeline.clone();
        shard.insert(Entry { hash, key: key.into(), made });
        Ok(pipeline)
    }

    /// Goes on with another template. Policies whose slot is still there, and of the same kind, stay and have the new
    /// options.
    pub(super) fn change(&self, template: Template) {
        let template = Arc::new(template);
        self.template.store(Arc::clone(&template));
        for shard in &self.shards {
            for entry in &mut shard.write().entries {
                entry.made = template.make(&self.name, &entry.key, &entry.made.own, &self.environment);
            }
        }
    }

    /// Calls `visit` for every key, in no order. New keys wait meanwhile.
    pub(super) fn for_each(&self, visit: &mut dyn FnMut(&str, &Pipeline)) {
        for shard in &self.shards {
            shard.read().entries.iter().for_each(|entry| visit(&entry.key, &entry.made.pipeline));
        }
    }

    pub(super) fn stats(&self) -> KeyStats {
        KeyStats {
            pipeline: self.name.clone(),
            keys: self.keys.load(Ordering::Relaxed) as u64,
            max_keys: u64::from(self.template.load().max_keys),
            evicted: self.evicted.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // The table inside goes by the lower and the topmost bits; shards go by others.
        let index = usize::try_from((hash >> 40) & 0xffff).unwrap_or(0) & (self.shards.len() - 1);
        &self.shards[index]
    }

    /// Takes a place for one more key.
    fn make_room(&self, shard: &mut Shard, most: usize) -> Result<(), Rejection> {
        let more = |keys| (keys < most).then_some(keys + 1);
        let mut looks = 0..LOOKS.min(shard.entries.len());
        while let Err(keys) = self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            if looks.next().is_none() {
                self.rejected.fetch_add(1, Ordering::Relaxed);
                let context = Context::Used { used: keys as u64, limit: most as u64 };
                return Err(Rejection::new(Code::TooManyKeys, &self.name).with_context(context));
            }
            if shard.forget_one(self.environment.clock.now()) {
                self.keys.fetch_sub(1, Ordering::Relaxed);
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

impl Template {
    /// The pipeline of this key, with those of its policies that there are already.
    fn make(&self, name: &Name, key: &str, before: &[(Name, Step)], environment: &Environment) -> Made {
        let mut own = Vec::new();
        let steps = self.slots.iter().map(|slot| match slot {
            Slot::Shared(step) => step.clone(),
            Slot::Own(slot, options) => {
                let kept = before.iter().find(|(name, step)| name == slot && options.follow(step));
                let step = kept.map_or_else(|| options.make(of_key(slot, key), environment), |(_, step)| step.clone());
                own.push((slot.clone(), step.clone()));
                step
            }
        });
        let steps = steps.collect();
        Made { pipeline: assemble(of_key(name, key), steps, environment), own }
    }
}

/// What belongs to one key is called `search/bulkhead[key]`.
fn of_key(name: &Name, key: &str) -> Name {
    Name::from(format!("{name}[{key}]"))
}

impl Shard {
    fn find(&self, hash: u64, key: &str) -> Option<&Entry> {
        let same = |place: &u32| {
            let entry = &self.entries[*place as usize];
            entry.hash == hash && *entry.key == *key
        };
        self.table.find(hash, same).map(|place| &self.entries[*place as usize])
    }

    fn insert(&mut self, entry: Entry) {
        let (hash, place) = (entry.hash, u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(entry);
        let entries = &self.entries;
        self.table.insert_unique(hash, place, |place| entries[*place as usize].hash);
    }

    /// Looks at the key under the hand, and forgets it if it is at rest. The answer is whether it was.
    fn forget_one(&mut self, now: Moment) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        self.hand %= self.entries.len();
        let rests = self.entries[self.hand].made.is_at_rest(now);
        if rests {
            self.forget(self.hand);
        } else {
            self.hand += 1;
        }
        rests
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
}

impl Made {
    fn is_at_rest(&self, now: Moment) -> bool {
        !self.pipeline.is_held() && self.own.iter().all(|(_, step)| is_at_rest(step, now))
    }
}
