//! What policies may know of a call before it runs.

use std::borrow::Cow;

use crate::clock::Moment;

/// How much a call matters, least first. An adaptive limit sheds the least important calls first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Priority {
    /// Nobody waits for it: prefetching, batches.
    Background,
    /// Everyday calls.
    #[default]
    Normal,
    /// Calls that somebody notices.
    High,
    /// Calls without which nothing works: health, login, payment.
    Critical,
}

/// A call, as described to the policies around it.
///
/// ```
/// use tidegate_resilience::{Call, Priority};
///
/// let call = Call::new().key("tenant-7").cost(3).priority(Priority::High).idempotent();
/// ```
#[derive(Debug, Clone)]
pub struct Call<'k> {
    key: Option<Cow<'k, str>>,
    cost: u32,
    priority: Priority,
    idempotent: bool,
    deadline: Moment,
}

impl Default for Call<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'k> Call<'k> {
    /// A call without a key, of cost 1 and normal priority, not known to be idempotent, without a deadline.
    pub const fn new() -> Self {
        Self { key: None, cost: 1, priority: Priority::Normal, idempotent: false, deadline: Moment::NEVER }
    }

    /// The same call, counted under this key by keyed policies: a tenant, a user, an address.
    #[must_use]
    pub fn key(mut self, key: impl Into<Cow<'k, str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same call, weighing so much for rate limits. Zero is admitted wherever anything is.
    #[must_use]
    pub fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// The same call with this priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The same call, which does no more when run twice than when run once (RFC 9110 section 9.2.2). Only such calls
    /// are hedged, and with [`RetryOptions::only_idempotent`](crate::RetryOptions::only_idempotent) only such calls are
    /// retried where the first attempt may have had an effect.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// The same call, of no use to its caller after `deadline`. An earlier one that is set already stays.
    #[must_use]
    pub fn deadline(mut self, deadline: Moment) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// The same call, of no use after `deadline` either.
    pub(crate) fn until(&self, deadline: Moment) -> Call<'_> {
        Call { key: self.key.as_deref().map(Cow::Borrowed), deadline: self.deadline.min(deadline), ..*self }
    }

    /// The key, if there is one.
    pub fn key_name(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What it weighs for rate limits.
    pub const fn weight(&self) -> u32 {
        self.cost
    }

    /// How much it matters.
    pub const fn importance(&self) -> Priority {
        self.priority
    }

    /// Whether running it twice does no more than running it once.
    pub const fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// When it is of no more use; [`Moment::NEVER`] without a deadline.
    pub const fn ends(&self) -> Moment {
        self.deadline
    }
}
