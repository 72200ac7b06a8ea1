//! What a payout is, and what a venue can be found to have done about it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Amount, BusinessId, Destination, PayoutId, RefundRequest, WithdrawRequest, machine::PayoutState};

/// Which operation a payout belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutKind {
    /// A refund of a user's balance.
    Refund,
    /// A withdrawal that somebody asked for.
    Withdrawal,
}

impl PayoutKind {
    /// The name in the books.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Withdrawal => "withdrawal",
        }
    }
}

/// Everything that opens a payout, and that its undo has to name again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutOrder {
    /// The payout's id in the books.
    pub payout_id: PayoutId,
    /// Which operation it belongs to.
    pub kind: PayoutKind,
    /// The workflow id that carries it.
    pub holder: String,
    /// Whose balance pays.
    pub user_id: BusinessId,
    /// What is paid.
    pub asset_id: BusinessId,
    /// What leaves the user's balance.
    pub amount: Amount,
    /// Where it goes.
    pub destination: Destination,
    /// Why, of a refund.
    pub reason: Option<BusinessId>,
    /// Who asked for it, of a withdrawal.
    pub requested_by: Option<BusinessId>,
    /// What its workflow was started with.
    pub input: Value,
}

impl PayoutOrder {
    /// The payout of a refund, carried by the workflow `holder`.
    pub fn of_refund(request: &RefundRequest, holder: &str) -> Self {
        Self {
            payout_id: PayoutId::refund(&request.refund_id),
            kind: PayoutKind::Refund,
            holder: holder.into(),
            user_id: request.user_id.clone(),
            asset_id: request.asset_id.clone(),
            amount: request.amount,
            destination: request.destination.clone(),
            reason: Some(request.reason.clone()),
            requested_by: None,
            input: request.input.clone(),
        }
    }

    /// The payout of a withdrawal, carried by the workflow `holder`.
    pub fn of_withdrawal(request: &WithdrawRequest, holder: &str) -> Self {
        Self {
            payout_id: PayoutId::withdrawal(&request.withdrawal_id),
            kind: PayoutKind::Withdrawal,
            holder: holder.into(),
            user_id: request.user_id.clone(),
            asset_id: request.asset_id.clone(),
            amount: request.amount,
            destination: request.destination.clone(),
            reason: None,
            requested_by: Some(request.requested_by.clone()),
            input: request.input.clone(),
        }
    }

    /// Which payout, in whose hands.
    pub fn as_ref(&self) -> PayoutRef {
        PayoutRef { payout_id: self.payout_id.clone(), holder: self.holder.clone() }
    }

    /// What makes two orders with one id the same order. Flat, so that a difference is named by its field.
    pub fn content(&self) -> Value {
        let mut content = json!({
            "user_id": self.user_id,
            "asset_id": self.asset_id,
            "amount": self.amount,
            "destination.network": self.destination.network,
            "destination.address": self.destination.address,
            "destination.tag": self.destination.tag,
        });
        for (field, value) in [("reason", &self.reason), ("requested_by", &self.requested_by)] {
            if let Some(value) = value {
                content[field] = json!(value);
            }
        }
        content
    }

    /// The same in a few words: `1.5 BTC of user u1`.
    pub fn in_words(&self) -> String {
        format!("{} {} of user {}", self.amount, self.asset_id, self.user_id)
    }
}

/// Which payout, in whose hands: what every step after the opening needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutRef {
    /// The payout's id in the books.
    pub payout_id: PayoutId,
    /// The workflow id that carries it.
    pub holder: String,
}

/// A payout as the books have it. The result of a payout workflow, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutReceipt {
    /// The payout's id in the books.
    pub payout_id: PayoutId,
    /// How it stands; at the end, how it ended.
    pub state: PayoutState,
    /// Whose balance paid.
    pub user_id: String,
    /// What was paid.
    pub asset_id: String,
    /// What left the user's balance.
    pub amount: String,
    /// What the network took out of it, once settled.
    pub network_fee: Option<String>,
    /// The venue that was asked to pay.
    pub venue: String,
    /// The client id that every request about it carries (`withdrawOrderId`).
    pub client_id: String,
    /// The venue's own id of the withdrawal.
    pub venue_reference: Option<String>,
    /// The transaction on the network, once there is one.
    pub tx_id: Option<String>,
    /// Why it was returned, or waits for an operator.
    pub reason: Option<String>,
    /// Who approved or rejected it, if it had to be.
    pub decided_by: Option<String>,
}

/// How a send that was recorded came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// What the venue said.
    #[serde(flatten)]
    pub outcome: Answer,
}

/// What a venue said to a send. What was certainly not sent is not among them: it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Answer {
    /// The venue took it and gave its own id.
    Accepted {
        /// The venue's id of the withdrawal.
        venue_reference: String,
    },
    /// The venue refused it, by a code that means "no effect".
    Rejected {
        /// The venue's code and message.
        reason: String,
    },
    /// Nobody knows: look it up.
    Unknown {
        /// What went wrong.
        reason: String,
    },
}

/// What the venue's own record finally says of a payout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum Confirmed {
    /// The withdrawal is completed.
    Paid(PaidRecord),
    /// The withdrawal was accepted and then failed at the venue.
    Failed {
        /// The venue's id of the withdrawal.
        venue_reference: String,
        /// The venue's reason.
        reason: String,
    },
    /// No attempt took effect, and none can any more.
    Absent,
    /// The books say that it is over already.
    Over(Box<PayoutReceipt>),
}

/// The venue's record of a completed withdrawal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidRecord {
    /// The venue's id of the withdrawal.
    pub venue_reference: String,
    /// What reached the destination, a decimal string.
    pub received: String,
    /// What the network took, a decimal string.
    pub network_fee: String,
    /// The transaction on the network.
    pub tx_id: Option<String>,
}

impl fmt::Display for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome.fmt(f)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { venue_reference } => write!(f, "accepted as withdrawal {venue_reference}"),
            Self::Rejected { reason } => write!(f, "rejected: {reason}"),
            Self::Unknown { reason } => write!(f, "unknown: {reason}"),
        }
    }
}

impl fmt::Display for Confirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paid(paid) => write!(f, "paid as withdrawal {}", paid.venue_reference),
            Self::Failed { venue_reference, reason } => write!(f, "withdrawal {venue_reference}: {reason}"),
            Self::Absent => f.write_str("no attempt took effect"),
            Self::Over(receipt) => write!(f, "already {}", receipt.state.name()),
        }
    }
}
