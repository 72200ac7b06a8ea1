//! Records: what was withdrawn, what was deposited. Their state is a pure function of record and time.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Where a withdrawal is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WithdrawalState {
    /// Promised but not executed yet: no record is shown and nothing is debited.
    Accepted,
    EmailSent,
    Cancelled,
    AwaitingApproval,
    Rejected,
    Processing,
    Failed,
    Completed,
}

/// The states a test may force, by the name the admin API uses.
const FORCIBLE: [(&str, WithdrawalState); 7] = [
    ("email_sent", WithdrawalState::EmailSent),
    ("cancelled", WithdrawalState::Cancelled),
    ("awaiting_approval", WithdrawalState::AwaitingApproval),
    ("rejected", WithdrawalState::Rejected),
    ("processing", WithdrawalState::Processing),
    ("failed", WithdrawalState::Failed),
    ("completed", WithdrawalState::Completed),
];

impl WithdrawalState {
    /// The `status` number of "Withdraw History"; `None` while nothing is shown.
    pub(crate) fn code(self) -> Option<i64> {
        match self {
            Self::Accepted => None,
            Self::EmailSent => Some(0),
            Self::Cancelled => Some(1),
            Self::AwaitingApproval => Some(2),
            Self::Rejected => Some(3),
            Self::Processing => Some(4),
            Self::Failed => Some(5),
            Self::Completed => Some(6),
        }
    }

    /// Whether the money went back to the free balance.
    pub(crate) fn returns_money(self) -> bool {
        matches!(self, Self::Cancelled | Self::Rejected | Self::Failed)
    }

    /// Whether the withdrawal is executed and its outcome still open.
    pub(crate) fn in_flight(self) -> bool {
        matches!(self, Self::EmailSent | Self::AwaitingApproval | Self::Processing)
    }

    /// Reads a state that may be forced.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        FORCIBLE.iter().find(|(known, _)| *known == name).map(|(_, state)| *state)
    }

    /// The names [`Self::from_name`] knows, for messages.
    pub(crate) fn names() -> String {
        FORCIBLE.map(|(name, _)| name).join(", ")
    }
}

/// A state set from outside, from a moment on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) at_ms: Millis,
    pub(crate) state: WithdrawalState,
    /// The exchange's `info`: the reason of a failure.
    pub(crate) info: String,
}

/// A withdrawal. Moments ending in `_at_ms` and `visible_from_ms` are on the machine's clock;
/// `apply_time_ms` is on the server's, which a test may have shifted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Withdrawal {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// The client's `withdrawOrderId`.
    pub(crate) client_id: Option<String>,
    pub(crate) coin: String,
    pub(crate) network: String,
    pub(crate) address: String,
    pub(crate) tag: Option<String>,
    /// What leaves the account, in units of the coin; the fee is inside.
    pub(crate) amount: Decimal,
    pub(crate) fee: Decimal,
    /// Whether the balance pays for it; records inserted by a test may not.
    pub(crate) debits: bool,
    pub(crate) accepted_at_ms: Millis,
    /// In the future for one that was accepted but is executed late.
    pub(crate) executed_at_ms: Millis,
    /// What history reports and filters by.
    pub(crate) apply_time_ms: Millis,
    /// History does not show the record before.
    pub(crate) visible_from_ms: Millis,
    pub(crate) processing_at_ms: Millis,
    pub(crate) complete_at_ms: Millis,
    /// An ending decided at execution; it replaces completion.
    pub(crate) planned: Option<Ending>,
    /// An ending decided later, which beats everything else.
    pub(crate) forced: Option<Ending>,
}

impl Withdrawal {
    /// The state at a moment.
    pub(crate) fn state(&self, now: Millis) -> WithdrawalState {
        if let Some(ending) = self.ending(now) {
            ending.state
        } else if now < self.executed_at_ms {
            WithdrawalState::Accepted
        } else if self.planned.is_none() && now >= self.complete_at_ms {
            WithdrawalState::Completed
        } else if now >= self.processing_at_ms {
            WithdrawalState::Processing
        } else {
            WithdrawalState::EmailSent
        }
    }

    /// The moment of completion, when it has come.
    pub(crate) fn completed_at_ms(&self, now: Millis) -> Option<Millis> {
        (self.state(now) == WithdrawalState::Completed)
            .then(|| self.ending(now).map_or(self.complete_at_ms, |ending| ending.at_ms))
    }

    /// The reason given with a forced or planned state.
    pub(crate) fn info(&self, now: Millis) -> &str {
        self.ending(now).map_or("", |ending| &ending.info)
    }

    /// How much of the free balance is gone because of this withdrawal.
    pub(crate) fn debited(&self, now: Millis) -> Decimal {
        let state = self.state(now);
        if !self.debits || state == WithdrawalState::Accepted || state.returns_money() {
            Decimal::ZERO
        } else {
            self.amount
        }
    }

    fn ending(&self, now: Millis) -> Option<&Ending> {
        let due = |ending: &&Ending| now >= ending.at_ms;
        let forced = self.forced.as_ref().filter(due);
        forced.or(self.planned.as_ref().filter(due))
    }
}

/// `status` of "Deposit History": not confirmed yet.
pub(crate) const DEPOSIT_PENDING: i64 = 0;
/// `status` of "Deposit History": done.
pub(crate) const DEPOSIT_SUCCESS: i64 = 1;
/// `status` of "Deposit History": not taken.
pub(crate) const DEPOSIT_REJECTED: i64 = 2;
/// `status` of "Deposit History": usable, but not to be withdrawn yet.
pub(crate) const DEPOSIT_CREDITED: i64 = 6;
/// `status` of "Deposit History": sent in a way that is not taken.
pub(crate) const DEPOSIT_WRONG: i64 = 7;
/// `status` of "Deposit History": waits for the user to confirm it.
pub(crate) const DEPOSIT_UNCONFIRMED: i64 = 8;

/// Money that came in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deposit {
    pub(crate) id: String,
    pub(crate) coin: String,
    pub(crate) network: String,
    pub(crate) amount: Decimal,
    pub(crate) address: String,
    pub(crate) tag: Option<String>,
    pub(crate) tx_id: String,
    pub(crate) status: i64,
    /// On the server's clock.
    pub(crate) insert_time_ms: Millis,
}

impl Deposit {
    /// How much of it is in the free balance.
    pub(crate) fn credited(&self) -> Decimal {
        if [DEPOSIT_SUCCESS, DEPOSIT_CREDITED].contains(&self.status) { self.amount } else { Decimal::ZERO }
    }
}
