//! The arithmetic of rate limits: a word and the time in, another word or a refusal out.
//!
//! A word of zero is a key that was never seen. A reading of the clock that is older than what the word was written by
//! only makes a limit stricter, so that a thread that was held up between its reading and its exchange admits nothing
//! that it should not.

/// Ticks of a nanosecond, at most: what a rate needs that is no whole number of nanoseconds for each call. With 16 of
/// them, a moment fits into a word for 36 years.
const MOST_TICKS: u64 = 16;

/// What is counted, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Token and leaky bucket. The word is when all of the burst is back (the theoretical arrival time), in ticks.
    Gcra(Gcra),
    /// The word is the number of the window and the calls in it.
    Fixed { limit: u32, window: u64 },
    /// The word is the number of the window, the calls in the one before, and the calls in it.
    Sliding { limit: u32, window: u64 },
}

/// The generic cell rate algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gcra {
    /// Ticks of a nanosecond.
    ticks: u64,
    /// Ticks from one call to the next.
    interval: u64,
    burst: u32,
    /// How long a call may wait, in ticks.
    wait: u64,
}

/// What a word says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Admitted after so many nanoseconds; the word from now on.
    Admitted { word: u64, after: u64 },
    /// Rejected; the same call would be admitted after so many nanoseconds.
    Denied { retry_after: u64 },
    /// It costs more than can ever be admitted.
    TooLarge,
}

impl Gcra {
    /// `rate` calls in `per` nanoseconds; nothing where the burst takes longer to come back than a word can say.
    pub(super) fn new(rate: u32, per: u64, burst: u32, wait: u64) -> Option<Self> {
        let ticks = (u64::from(rate) / gcd(u64::from(rate), per)).min(MOST_TICKS);
        // Rounded up where it is no whole number: a limit is never exceeded, and missed by at most 1/16 ns for a call.
        let interval = (u128::from(per) * u128::from(ticks)).div_ceil(u128::from(rate));
        let whole = interval.checked_mul(u128::from(burst))?;
        (whole < u128::from(u64::MAX >> 8)).then_some(())?;
        Some(Self { ticks, interval: u64::try_from(interval).ok()?, burst, wait: wait.checked_mul(ticks)? })
    }

    fn now(&self, now: u64) -> u64 {
        now.saturating_mul(self.ticks)
    }

    /// How far ahead of the time the word may be for a call to be admitted at once.
    fn ahead(&self) -> u64 {
        self.interval * u64::from(self.burst)
    }
}

impl Rule {
    pub(super) fn limit(&self) -> u32 {
        match self {
            Self::Gcra(gcra) => gcra.burst,
            Self::Fixed { limit, .. } | Self::Sliding { limit, .. } => *limit,
        }
    }

    /// Takes `cost`, waiting where the rule lets calls wait and `patient` is set.
    pub(super) fn take(&self, word: u64, now: u64, cost: u32, patient: bool) -> Taken {
        if cost > self.limit() {
            return Taken::TooLarge;
        }
        match *self {
            Self::Gcra(gcra) => {
                let now = gcra.now(now);
                let after = word.max(now).saturating_add(gcra.interval * u64::from(cost));
                let wait = after.saturating_sub(now.saturating_add(gcra.ahead()));
                match wait.saturating_sub(if patient { gcra.wait } else { 0 }) {
                    0 => Taken::Admitted { word: after, after: wait.div_ceil(gcra.ticks) },
                    more => Taken::Denied { retry_after: more.div_ceil(gcra.ticks) },
                }
            }
            Self::Fixed { limit, window } => {
                let held = Fixed::of(word).at(now / window);
                if held.used.saturating_add(cost) <= limit {
                    return Taken::Admitted { word: Fixed { used: held.used + cost, ..held }.word(), after: 0 };
                }
                Taken::Denied { retry_after: (held.full_number(now / window) + 1).saturating_mul(window) - now }
            }
            Self::Sliding { limit, window } => {
                let held = Sliding::of(word).at(now / window);
                let late = held.is_ahead(now / window);
                let passed = if late { 0 } else { now % window };
                if held.weight(window, passed) + u128::from(cost) * u128::from(window)
                    <= u128::from(limit) * u128::from(window)
                {
                    return Taken::Admitted { word: Sliding { used: held.used + cost, ..held }.word(), after: 0 };
                }
                let rest = if late { window - now % window } else { 0 };
                Taken::Denied { retry_after: rest + held.time_for(cost, limit, window, passed) }
            }
        }
    }

    /// Gives `cost` back.
    pub(super) fn give(&self, word: u64, now: u64, cost: u32) -> u64 {
        match *self {
            Self::Gcra(gcra) => word.saturating_sub(gcra.interval * u64::from(cost)),
            Self::Fixed { window, .. } => {
                let held = Fixed::of(word).at(now / window);
                Fixed { used: held.used.saturating_sub(cost), ..held }.word()
            }
            Self::Sliding { window, .. } => {
                let held = Sliding::of(word).at(now / window);
                Sliding { used: held.used.saturating_sub(cost), ..held }.word()
            }
        }
    }

    /// How much of the limit is in use, rounded up.
    pub(super) fn used(&self, word: u64, now: u64) -> u32 {
        let used = match *self {
            Self::Gcra(gcra) => u128::from(word.saturating_sub(gcra.now(now)).div_ceil(gcra.interval)),
            Self::Fixed { window, .. } => u128::from(Fixed::of(word).at(now / window).used),
            Self::Sliding { window, .. } => {
                Sliding::of(word).at(now / window).weight(window, now % window).div_ceil(u128::from(window))
            }
        };
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// The word of a key that has so much in use.
    pub(super) fn with_used(&self, used: u32, now: u64) -> u64 {
        let used = used.min(self.limit());
        match *self {
            _ if used == 0 => 0,
            Self::Gcra(gcra) => gcra.now(now).saturating_add(gcra.interval * u64::from(used)),
            Self::Fixed { window, .. } => Fixed { number: low(now / window), used }.word(),
            Self::Sliding { window, .. } => Sliding { number: short(now / window), before: 0, used }.word(),
        }
    }

    /// How long it takes, in nanoseconds, until nothing is in use if nothing is taken; 0 where that is so.
    pub(super) fn rest(&self, word: u64, now: u64) -> u64 {
        match *self {
            Self::Gcra(gcra) => word.saturating_sub(gcra.now(now)).div_ceil(gcra.ticks),
            Self::Fixed { window, .. } => match Fixed::of(word).at(now / window).used {
                0 => 0,
                _ => window - now % window,
            },
            Self::Sliding { window, .. } => match Sliding::of(word).at(now / window) {
                Sliding { used: 0, before: 0, .. } => 0,
                Sliding { used: 0, .. } => window - now % window,
                _ => 2 * window - now % window,
            },
        }
    }
}

/// A fixed window: 32 bits of its number, 32 bits of what is used.
#[derive(Clone, Copy)]
struct Fixed {
    number: u32,
    used: u32,
}

impl Fixed {
    fn of(word: u64) -> Self {
        Self { number: low(word >> 32), used: low(word) }
    }

    fn word(self) -> u64 {
        (u64::from(self.number) << 32) | u64::from(self.used)
    }

    /// The same in window `number`, unless this is a later one: numbers come round again.
    fn at(self, number: u64) -> Self {
        let number = low(number);
        if number.wrapping_sub(self.number).cast_signed() > 0 { Self { number, used: 0 } } else { self }
    }

    /// The whole number of this window, which is `number` or a few after it.
    fn full_number(self, number: u64) -> u64 {
        number + u64::from(self.number.wrapping_sub(low(number)))
    }
}

/// A sliding window: 16 bits of its number, 24 bits each of what was used in the window before and is used in it.
#[derive(Clone, Copy)]
struct Sliding {
    number: u16,
    before: u32,
    used: u32,
}

impl Sliding {
    const COUNT: u64 = (1 << 24) - 1;

    fn of(word: u64) -> Self {
        Self { number: short(word >> 48), before: low((word >> 24) & Self::COUNT), used: low(word & Self::COUNT) }
    }

    fn word(self) -> u64 {
        (u64::from(self.number) << 48) | (u64::from(self.before) << 24) | u64::from(self.used)
    }

    /// The same in window `number`, unless this is a later one: numbers come round again.
    fn at(self, number: u64) -> Self {
        let number = short(number);
        match number.wrapping_sub(self.number) {
            0 => self,
            1 => Self { number, before: self.used, used: 0 },
            ahead if ahead > u16::MAX - 2 => self,
            _ => Self { number, before: 0, used: 0 },
        }
    }

    fn is_ahead(self, number: u64) -> bool {
        self.number != short(number)
    }

    /// What counts `passed` nanoseconds into the window, times its length.
    fn weight(self, window: u64, passed: u64) -> u128 {
        u128::from(self.before) * u128::from(window - passed) + u128::from(self.used) * u128::from(window)
    }

    /// How long it takes until `cost` is admitted, from `passed` nanoseconds into the window.
    fn time_for(self, cost: u32, limit: u32, window: u64, passed: u64) -> u64 {
        let room = |used: u32| u128::from(limit.saturating_sub(used.saturating_add(cost))) * u128::from(window);
        // In this window, as that before it moves out; else in the next one, where this is the one that moves out.
        let moved_out =
            |before: u32, room: u128| u128::from(window) - (room / u128::from(before.max(1))).min(u128::from(window));
        if self.used.saturating_add(cost) <= limit {
            let at = moved_out(self.before, room(self.used));
            return u64::try_from(at).unwrap_or(window).saturating_sub(passed);
        }
        let at = moved_out(self.used, room(0));
        (window - passed).saturating_add(u64::try_from(at).unwrap_or(window))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of a word")]
fn low(word: u64) -> u32 {
    word as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest quarter of a word")]
fn short(word: u64) -> u16 {
    word as u16
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
