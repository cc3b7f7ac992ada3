//! A part of the table of keys: what every key has used, in bounded memory.
//!
//! Keys stand in a list, and an index finds them by their hash. A newcomer to a full shard takes the place of a key that
//! has recovered: a hand goes round the list and looks at a few keys for each newcomer, so that a flood of keys costs each
//! of them as much as any other. Where the hand finds none, the newcomer is not followed, and shares with all others
//! like it what the [crowd](Shard::crowd) may use.
//!
//! Invariant: nobody gains by being forgotten, nor by not being followed. A key that is followed from now on begins with
//! whatever the crowd has used, which is never less than any key had used that was forgotten. For everybody else that
//! is nothing: what was forgotten had recovered, unless the clock of the caller is behind.

use hashbrown::HashTable;

use crate::clock::Moment;
use crate::error::Code;

use super::key::{Key, Sought};
use super::log::Log;
use super::shell::Refusal;
use super::state::{Algorithm, Decision, Demand, Return, Rule, Standing, Used};

/// How many keys the hand looks at for a newcomer.
const GLANCES: usize = 8;

/// The most keys in a shard.
pub(super) const MOST: usize = CROWD as usize;

/// The place of the crowd: the last number of the 24 bits that a ticket has for a place.
pub(super) const CROWD: u32 = (1 << 24) - 1;

#[derive(Debug)]
pub(super) struct Shard {
    rule: Rule,
    capacity: usize,
    /// Places in `entries`.
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// As long as `entries` where the algorithm keeps logs, and else empty.
    logs: Vec<Log>,
    /// What is used by those who are not followed.
    crowd: u64,
    crowd_log: Log,
    /// The key that the hand looks at next.
    hand: usize,
    /// The serial of the last newcomer.
    serial: u32,
    pub(super) figures: Figures,
}

/// A key that is followed: 40 bytes.
#[derive(Debug)]
struct Entry {
    key: Key,
    used: u64,
    hash: u32,
    /// Differs from that of whoever had the place before, and from that before a reset.
    serial: u32,
}

/// What happened in a shard since it was made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) evicted: u64,
    pub(super) crowded: u64,
}

/// Where a key stands, for as long as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) place: u32,
    pub(super) serial: u32,
}

/// What a call has taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) starts: Moment,
    pub(super) generation: u32,
    pub(super) seat: Seat,
}

/// What a shard says to a call, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) decision: Decision,
    pub(super) standing: Standing,
    followed: bool,
}

impl Answer {
    /// The refusal, where it is one.
    pub(super) fn refusal(&self, demand: &Demand) -> Refusal {
        let refusal = Refusal::new(self.decision, demand.cost, &self.standing);
        let crowded = !self.followed && refusal.code != Code::RateCostTooLarge;
        if crowded { Refusal { code: Code::RateTableFull, ..refusal } } else { refusal }
    }
}

impl Shard {
    pub(super) fn new(rule: Rule, capacity: usize) -> Self {
        Self {
            rule,
            capacity,
            index: HashTable::new(),
            entries: Vec::new(),
            logs: Vec::new(),
            crowd: 0,
            crowd_log: Log::default(),
            hand: 0,
            serial: 0,
            figures: Figures::default(),
        }
    }

    /// How many keys are followed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes what the call asks for from what this key may use, if the limit admits it.
    #[inline]
    pub(super) fn take(&mut self, key: Sought<'_>, hash: u32, demand: &Demand) -> Result<Taken, Answer> {
        if self.rule.algorithm.outgrown(demand.now) {
            self.rebase(demand.now);
        }
        let (decision, place) = match self.find(key, hash) {
            Some(place) => (self.take_at(place, demand), place),
            None => self.take_new(key, hash, demand),
        };
        let Some(starts) = decision.starts(demand.now) else {
            self.figures.denied += 1;
            return Err(self.answer(decision, place, demand.now));
        };
        self.figures.allowed += 1;
        let serial = self.entries.get(place as usize).map_or(0, |entry| entry.serial);
        Ok(Taken { starts, generation: self.rule.generation, seat: Seat { place, serial } })
    }

    /// The first call of a key. Whoever is not admitted is not followed either.
    #[cold]
    fn take_new(&mut self, key: Sought<'_>, hash: u32, demand: &Demand) -> (Decision, u32) {
        let decision = self.peek_at(CROWD, demand);
        let admitted = decision.starts(demand.now).is_some();
        let seat = if admitted { self.seat(key, hash, demand.now) } else { None };
        self.figures.crowded += u64::from(seat.is_none() && decision != Decision::TooLarge);
        let place = seat.unwrap_or(CROWD);
        (self.take_at(place, demand), place)
    }

    /// What [`Shard::take`] would say.
    pub(super) fn peek(&mut self, key: Sought<'_>, hash: u32, demand: &Demand) -> Answer {
        if self.rule.algorithm.outgrown(demand.now) {
            self.rebase(demand.now);
        }
        let place = self.find(key, hash).unwrap_or(CROWD);
        let decision = self.peek_at(place, demand);
        self.answer(decision, place, demand.now)
    }

    /// Gives back what a call took that never began, if the same key still stands there under the same rule.
    pub(super) fn untake(&mut self, seat: Seat, generation: u32, back: &Return) {
        let same = self.entries.get(seat.place as usize).is_some_and(|entry| entry.serial == seat.serial);
        // What the crowd took stays taken: by now it may stand for what keys had used that were forgotten.
        if same && generation == self.rule.generation {
            let algorithm = self.rule.algorithm;
            algorithm.untake(self.used(seat.place), back);
        }
    }

    /// Gives so much back to this key, whoever took it.
    pub(super) fn refund(&mut self, key: Sought<'_>, hash: u32, cost: u32) {
        if let Some(place) = self.find(key, hash) {
            let algorithm = self.rule.algorithm;
            algorithm.refund(self.used(place), cost);
        }
    }

    /// Forgets what this key has used. Whether it is followed.
    pub(super) fn reset(&mut self, key: Sought<'_>, hash: u32) -> bool {
        let Some(place) = self.find(key, hash) else { return false };
        match self.used(place) {
            Used::Number(number) => *number = 0,
            Used::Log(log) => *log = Log::default(),
        }
        self.entries[place as usize].serial = self.next_serial();
        true
    }

    /// Forgets all keys that have recovered, and gives back their memory. Returns how many.
    pub(super) fn forget(&mut self, now: Moment) -> usize {
        let before = self.entries.len();
        let mut place = 0;
        while place < self.entries.len() {
            match self.recovered(place, now) {
                true => self.remove(place),
                false => place += 1,
            }
        }
        let entries = &self.entries;
        self.index.shrink_to_fit(|place| spread(entries[*place as usize].hash));
        self.entries.shrink_to_fit();
        self.logs.shrink_to_fit();
        let forgotten = before - self.entries.len();
        self.figures.evicted += forgotten as u64;
        forgotten
    }

    /// Puts another rule in force, under which every key has used as much as before.
    pub(super) fn reconfigure(&mut self, rule: Rule, capacity: usize, now: Moment) {
        self.capacity = capacity;
        if self.rule != rule {
            self.convert(rule, now);
        }
    }

    /// The rule in force.
    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Lets all numbers begin at a later epoch.
    #[cold]
    fn rebase(&mut self, now: Moment) {
        if let Algorithm::Counted(counted) = self.rule.algorithm {
            self.convert(Rule { algorithm: Algorithm::Counted(counted.rebased(now)), ..self.rule }, now);
        }
    }

    fn convert(&mut self, rule: Rule, now: Moment) {
        let (from, to) = (self.rule.algorithm, rule.algorithm);
        let mut logs = std::mem::take(&mut self.logs).into_iter();
        if let Algorithm::Exact(_) = to {
            self.logs.reserve_exact(self.entries.capacity());
        }
        for entry in &mut self.entries {
            let (used, log) = from.carry((entry.used, logs.next().unwrap_or_default()), &to, now);
            entry.used = used;
            if let Algorithm::Exact(_) = to {
                self.logs.push(log);
            }
        }
        (self.crowd, self.crowd_log) = from.carry((self.crowd, std::mem::take(&mut self.crowd_log)), &to, now);
        self.rule = rule;
    }

    #[inline]
    fn find(&self, key: Sought<'_>, hash: u32) -> Option<u32> {
        let same = |place: &u32| {
            let entry = &self.entries[*place as usize];
            entry.hash == hash && key.is(&entry.key)
        };
        self.index.find(spread(hash), same).copied()
    }

    /// What whoever stands at this place has used.
    #[inline]
    fn used(&mut self, place: u32) -> Used<'_> {
        let exact = matches!(self.rule.algorithm, Algorithm::Exact(_));
        match (exact, place as usize) {
            (false, place) => {
                Used::Number(self.entries.get_mut(place).map_or(&mut self.crowd, |entry| &mut entry.used))
            }
            (true, place) => Used::Log(self.logs.get_mut(place).unwrap_or(&mut self.crowd_log)),
        }
    }

    #[inline]
    fn take_at(&mut self, place: u32, demand: &Demand) -> Decision {
        let algorithm = self.rule.algorithm;
        algorithm.take(self.used(place), demand)
    }

    fn peek_at(&mut self, place: u32, demand: &Demand) -> Decision {
        let algorithm = self.rule.algorithm;
        algorithm.peek(self.used(place), demand)
    }

    fn answer(&mut self, decision: Decision, place: u32, now: Moment) -> Answer {
        let algorithm = self.rule.algorithm;
        let standing = algorithm.standing(self.used(place), now);
        Answer { decision, standing, followed: place != CROWD }
    }

    /// Finds a place for a newcomer, who begins with what the crowd has used.
    fn seat(&mut self, key: Sought<'_>, hash: u32, now: Moment) -> Option<u32> {
        let full = self.entries.len() >= self.capacity;
        let vacated = if full { self.make_room(now) } else { None };
        if full && vacated.is_none() {
            return None;
        }
        let serial = self.next_serial();
        let newcomer = Entry { key: key.into(), used: self.crowd, hash, serial };
        let place = match vacated {
            Some(place) => {
                self.entries[place] = newcomer;
                place
            }
            None => {
                self.reserve();
                self.entries.push(newcomer);
                self.entries.len() - 1
            }
        };
        if let Algorithm::Exact(_) = self.rule.algorithm {
            let log = self.crowd_log.clone();
            match self.logs.get_mut(place) {
                Some(vacated) => *vacated = log,
                None => self.logs.push(log),
            }
        }
        let place = u32::try_from(place).ok()?;
        let entries = &self.entries;
        self.index.insert_unique(spread(hash), place, |place| spread(entries[*place as usize].hash));
        Some(place)
    }

    /// Lets the list grow by a quarter: by twice as much, half of the memory might be empty.
    fn reserve(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            let more = (self.entries.len() / 4).max(8).min(self.capacity - self.entries.len());
            self.entries.reserve_exact(more);
            if let Algorithm::Exact(_) = self.rule.algorithm {
                self.logs.reserve_exact(more);
            }
        }
    }

    /// Looks at a few keys for one that has recovered, and vacates its place. Where there are more keys than there may
    /// be, since that was changed, it forgets as many of them as it finds until there are fewer.
    fn make_room(&mut self, now: Moment) -> Option<usize> {
        for _ in 0..GLANCES {
            self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
            if self.recovered(self.hand, now) {
                self.figures.evicted += 1;
                if self.entries.len() == self.capacity {
                    self.vacate(self.hand);
                    return Some(self.hand);
                }
                self.remove(self.hand);
            }
        }
        None
    }

    fn recovered(&mut self, place: usize, now: Moment) -> bool {
        let algorithm = self.rule.algorithm;
        u32::try_from(place).is_ok_and(|place| algorithm.recovered(self.used(place), now))
    }

    /// Takes the key at this place out of the index; what it has used, the crowd has used.
    fn vacate(&mut self, place: usize) {
        self.relocate(place, None);
        let algorithm = self.rule.algorithm;
        let (crowd, gone) = match algorithm {
            Algorithm::Counted(_) => (Used::Number(&mut self.crowd), Used::Number(&mut self.entries[place].used)),
            Algorithm::Exact(_) => (Used::Log(&mut self.crowd_log), Used::Log(&mut self.logs[place])),
        };
        algorithm.join(crowd, gone);
    }

    /// Forgets the key at this place; the last one moves there.
    fn remove(&mut self, place: usize) {
        self.vacate(place);
        let last = self.entries.len() - 1;
        if place < last {
            self.relocate(last, u32::try_from(place).ok());
        }
        self.entries.swap_remove(place);
        if !self.logs.is_empty() {
            self.logs.swap_remove(place);
        }
    }

    /// Lets the index find another place, or none, where it found this one.
    fn relocate(&mut self, place: usize, to: Option<u32>) {
        let hash = spread(self.entries[place].hash);
        match (self.index.find_entry(hash, |found| *found as usize == place), to) {
            (Ok(mut found), Some(to)) => *found.get_mut() = to,
            (Ok(found), None) => _ = found.remove(),
            (Err(_), _) => {}
        }
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

/// The 64 bits that the index goes by, of which it uses the lowest and the topmost. Only its speed depends on them.
#[inline]
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}
