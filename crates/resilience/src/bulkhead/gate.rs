//! The shared state: the [`Word`] that everybody touches, and the queue that only those who must wait do.
//!
//! No clock and no future here, but wakers. They are always woken and dropped outside of the lock: they are somebody
//! else's code, which may come back in.
//!
//! Invariant: whenever nobody holds the lock, [`Word::WAITING`] says whether the queue has anybody in it. It is set
//! only while the word says that there is no place, and on the same word every leave sees it: so either the one who
//! queues sees the free place, or the one who frees it sees that somebody waits. No wake-up is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;
use smallvec::SmallVec;

use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

use super::options::Settings;
use super::state::{Entry, Word};

/// Who is in, and who waits.
#[derive(Debug)]
pub(super) struct Gate {
    word: CachePadded<AtomicU64>,
    line: Mutex<Line>,
}

/// What the lock protects.
#[derive(Debug)]
pub(super) struct Line {
    settings: Settings,
    /// At most `settings.queue`, in the order of their numbers.
    waiting: VecDeque<Waiter>,
    next_number: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    fate: Arc<AtomicU8>,
    waker: Option<Waker>,
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    /// A [`Fate`], changed only by who holds the lock, and only once.
    fate: Arc<AtomicU8>,
}

/// What became of a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fate {
    Waiting,
    /// It has its place, which somebody must give back.
    Counted,
    /// It may pass; nobody counts any more.
    Uncounted,
    /// It was sent away.
    Cleared,
}

/// The end of a try to get in, or else into the queue.
#[derive(Debug)]
pub(super) enum Arrival<T> {
    Entered(Entry),
    /// It waits, as one of so many, on these terms.
    Seated(Seat, u32, T),
    /// There is neither a place nor a seat.
    Full(Word),
}

type Wakers = SmallVec<[Waker; 4]>;

impl Gate {
    pub(super) fn new(settings: Settings) -> Self {
        let word = Word::empty(&settings).bits();
        Self {
            word: CachePadded::new(AtomicU64::new(word)),
            line: Mutex::new(Line { settings, waiting: VecDeque::new(), next_number: 0 }),
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word::of(self.word.load(Ordering::Relaxed))
    }

    /// Enters, if there is a place and nobody waits for it.
    ///
    /// # Errors
    ///
    /// The state in which there is none.
    #[inline]
    pub(super) fn try_enter(&self) -> Result<Entry, Word> {
        self.take(Word::enter)
    }

    #[inline]
    fn take(&self, may: impl Fn(Word) -> Option<Entry>) -> Result<Entry, Word> {
        let mut word = self.word();
        loop {
            let entry = may(word).ok_or(word)?;
            if entry == Entry::Uncounted {
                return Ok(entry);
            }
            let next = word.bits() + Word::ONE;
            // Acquire pairs with the release in `leave`: what was done in a place happened before it is taken again.
            match self.word.compare_exchange_weak(word.bits(), next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(entry),
                Err(newer) => word = Word::of(newer),
            }
        }
    }

    /// Gives back a place that was counted.
    #[inline]
    pub(super) fn leave(&self) {
        // Release pairs with the acquire in `take`.
        let before = Word::of(self.word.fetch_sub(Word::ONE, Ordering::Release));
        debug_assert!(before.active() > 0, "a ticket is settled once");
        if before.waiting() {
            self.call_next(self.line.lock());
        }
    }

    /// The settings, and how many wait.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Settings, u32) -> T) -> T {
        let line = self.line.lock();
        read(&line.settings, line.len())
    }

    /// Enters, or else queues on the terms that it is offered.
    ///
    /// # Errors
    ///
    /// What `terms` says where it offers none.
    pub(super) fn arrive<T, E>(&self, terms: impl Fn(&Settings) -> Result<T, E>) -> Result<Arrival<T>, E> {
        let mut line = self.line.lock();
        loop {
            let word = match self.try_enter() {
                Ok(entry) => return Ok(Arrival::Entered(entry)),
                Err(word) if !line.has_room() => return Ok(Arrival::Full(word)),
                Err(word) => word,
            };
            let terms = terms(&line.settings)?;
            let bits = word.bits();
            if self.word.compare_exchange(bits, bits | Word::WAITING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                let seat = line.push();
                return Ok(Arrival::Seated(seat, line.len(), terms));
            }
        }
    }

    /// What became of the seat; while it waits, `waker` is woken when that changes.
    pub(super) fn poll(&self, seat: &Seat, waker: &Waker) -> Poll<Fate> {
        if seat.fate() != Fate::Waiting {
            return Poll::Ready(seat.fate());
        }
        let mut replaced = Some(waker.clone());
        let mut line = self.line.lock();
        match line.find(seat) {
            Some(index) => {
                std::mem::swap(&mut line.waiting[index].waker, &mut replaced);
                // Before `replaced` is dropped.
                drop(line);
                Poll::Pending
            }
            None => {
                drop(line);
                Poll::Ready(seat.fate())
            }
        }
    }

    /// Leaves the queue. What is returned was its fate before; it is for the caller to give a place back.
    pub(super) fn give_up(&self, seat: &Seat) -> Fate {
        let mut line = self.line.lock();
        let Some(index) = line.find(seat) else { return seat.fate() };
        let waiter = line.waiting.remove(index);
        if line.waiting.is_empty() {
            self.word.fetch_and(!Word::WAITING, Ordering::Relaxed);
        }
        drop(line);
        drop(waiter);
        Fate::Waiting
    }

    /// Changes the settings, and lets in whoever they allow. Returns the size before.
    pub(super) fn change<E>(&self, change: impl FnOnce(&Settings) -> Result<Settings, E>) -> Result<u32, E> {
        let mut line = self.line.lock();
        line.settings = change(&line.settings)?;
        let mut word = self.word();
        loop {
            let next = word.with(&line.settings).bits();
            match self.word.compare_exchange_weak(word.bits(), next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(newer) => word = Word::of(newer),
            }
        }
        self.call_next(line);
        Ok(word.size())
    }

    /// Sends away all who wait. Returns how many.
    pub(super) fn clear(&self) -> u32 {
        let mut line = self.line.lock();
        let cleared = line.len();
        let wakers: Wakers = std::iter::from_fn(|| line.call(Fate::Cleared)).flatten().collect();
        self.word.fetch_and(!Word::WAITING, Ordering::Relaxed);
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
        cleared
    }

    /// Lets in, first come first served, as many of those who wait as there are places.
    fn call_next(&self, mut line: MutexGuard<'_, Line>) {
        let mut wakers = Wakers::new();
        loop {
            if line.waiting.is_empty() {
                self.word.fetch_and(!Word::WAITING, Ordering::Relaxed);
                break;
            }
            let Ok(entry) = self.take(Word::enter_next) else { break };
            let fate = if entry == Entry::Uncounted { Fate::Uncounted } else { Fate::Counted };
            wakers.extend(line.call(fate).flatten());
        }
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Line {
    #[expect(clippy::cast_possible_truncation, reason = "at most `queue`, which is 32 bits")]
    fn len(&self) -> u32 {
        self.waiting.len() as u32
    }

    fn has_room(&self) -> bool {
        self.len() < self.settings.queue
    }

    fn push(&mut self) -> Seat {
        let (number, fate) = (self.next_number, Arc::new(AtomicU8::new(Fate::Waiting as u8)));
        self.next_number += 1;
        self.waiting.push_back(Waiter { number, fate: Arc::clone(&fate), waker: None });
        Seat { number, fate }
    }

    /// Tells the first one its fate. Its waker is for the caller.
    fn call(&mut self, fate: Fate) -> Option<Option<Waker>> {
        let waiter = self.waiting.pop_front()?;
        // Release pairs with the acquire in `Seat::fate`.
        waiter.fate.store(fate as u8, Ordering::Release);
        Some(waiter.waker)
    }

    /// Where in the queue the seat is, if it still is.
    fn find(&self, seat: &Seat) -> Option<usize> {
        self.waiting.binary_search_by_key(&seat.number, |waiter| waiter.number).ok()
    }
}

impl Seat {
    pub(super) fn fate(&self) -> Fate {
        // Acquire pairs with the release in `Line::call`.
        match self.fate.load(Ordering::Acquire) {
            0 => Fate::Waiting,
            1 => Fate::Counted,
            2 => Fate::Uncounted,
            _ => Fate::Cleared,
        }
    }
}
