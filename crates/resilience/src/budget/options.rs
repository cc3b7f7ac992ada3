//! The options of a retry budget.

use std::time::Duration;

use crate::error::InvalidOption;
use crate::units::Ratio;

use super::ledger::{MAX_WINDOW, SLOT};

/// How many retries and hedges there may be beside the original calls.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetryBudgetOptions {
    /// Retries and hedges as a share of the original calls of the window: 0% to 100%. Default 20%, as in Finagle and
    /// linkerd.
    pub ratio: Ratio,
    /// Retries and hedges per second that are allowed on top of the share, for clients that call seldom or have just
    /// started. Unused ones add up for one `window`. Default 3: with the default window up to 30 at once, then 3 per
    /// second. (Finagle and linkerd take 10, which at 10 calls per second is a budget of 120%; failsafe-go takes 3.)
    pub min_per_second: u32,
    /// How long a call counts: 1 s to 30 s, rounded up to half seconds. Default 10 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::units::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "crate::units::DurationText"))]
    pub window: Duration,
}

impl Default for RetryBudgetOptions {
    fn default() -> Self {
        Self { ratio: Ratio::percent(20), min_per_second: 3, window: Duration::from_secs(10) }
    }
}

/// One retry, in the units that shares are counted in: millionths, so that no share of a call is lost to rounding.
const ONE: u64 = 1_000_000;

/// Checked options, in the ledger's terms.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) options: RetryBudgetOptions,
    /// How many slots of the ledger the window has.
    pub(super) slots: u64,
    /// What a deposit allows, in millionths of a withdrawal.
    share: u64,
    /// What is allowed without any deposit, in millionths of a withdrawal.
    floor: u64,
}

impl Settings {
    /// How many withdrawals so many deposits allow.
    pub(super) fn allowance(&self, deposits: u64) -> u64 {
        deposits.saturating_mul(self.share).saturating_add(self.floor) / ONE
    }
}

impl TryFrom<&RetryBudgetOptions> for Settings {
    type Error = InvalidOption;

    fn try_from(options: &RetryBudgetOptions) -> Result<Self, InvalidOption> {
        if !(Duration::from_secs(1)..=MAX_WINDOW).contains(&options.window) {
            return Err(InvalidOption::new("budget.window", "must be from 1s to 30s"));
        }
        let slots = options.window.as_nanos().div_ceil(SLOT.as_nanos());
        let slots = u64::try_from(slots).expect("at most 60");
        // A slot is half a second.
        let floor = u64::from(options.min_per_second) * slots * (ONE / 2);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio is from 0 to 1")]
        let share = (options.ratio.get() * ONE as f64).round() as u64;
        Ok(Self { options: options.clone(), slots, share, floor })
    }
}
