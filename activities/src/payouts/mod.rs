//! The activities of payouts: the ledger's, and the venue's.

mod ledger;
mod send;
mod venue;

use backstop_domain::{
    Decision, Resolution,
    payout::{PaidRecord, PayoutOrder, PayoutRef},
};
pub use ledger::LedgerActivities;
use serde::{Deserialize, Serialize};
pub use venue::{VenueActivities, VenuePatience};

/// The input of `payout_abandon`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Abandon {
    /// The opening to undo.
    pub order: PayoutOrder,
    /// Why, for the record.
    pub reason: String,
}

/// The input of `payout_settle`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settle {
    /// Which payout.
    pub payout: PayoutRef,
    /// The venue's record.
    pub paid: PaidRecord,
}

/// The input of `payout_return`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Return {
    /// Which payout.
    pub payout: PayoutRef,
    /// Why, for the record.
    pub reason: String,
    /// The venue's record of the failure, if that is the proof.
    pub failed_reference: Option<String>,
}

/// The input of `payout_escalate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Escalate {
    /// Which payout.
    pub payout: PayoutRef,
    /// What was looked at, and what was not found.
    pub evidence: String,
}

/// What a workflow knows of a payout's attempts. Books that know of less have lost something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAttempts {
    /// How many there were, at least.
    pub count: u32,
    /// The venue's reference of the last, if it accepted that.
    pub accepted_as: Option<String>,
}

/// The input of `venue_confirm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confirm {
    /// Which payout.
    pub order: PayoutOrder,
    /// What the workflow knows of it.
    pub known: KnownAttempts,
    /// At the pace of a payout that an operator has been called for.
    pub slowly: bool,
}

/// The input of `withdrawal_decide`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decide {
    /// Which withdrawal.
    pub payout: PayoutRef,
    /// Approved, or rejected.
    pub approve: bool,
    /// Whose word it is.
    pub decision: Decision,
}

/// The input of `venue_resolve`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolve {
    /// Which payout.
    pub order: PayoutOrder,
    /// What the workflow knows of it.
    pub known: KnownAttempts,
    /// The operator's word.
    pub resolution: Resolution,
}
