use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::InvalidInput;

/// Why a request was refused for good. A refusal is never retried, and nothing was changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusalKind {
    /// The input can never work.
    InvalidInput,
    /// The account does not hold enough.
    InsufficientFunds,
    /// The account is frozen. A send waits for the freeze to be lifted; an opening does not.
    Frozen,
    /// The id exists with other content.
    Conflict,
    /// The id is in the hands of another workflow.
    Held,
    /// The id was ended before it took effect, and stays ended.
    Abandoned,
    /// An undo came past the pivot.
    TooLate,
    /// There is no such row.
    NotFound,
    /// The row's state does not allow the event.
    NotAllowed,
    /// An earlier attempt may have taken effect.
    InDoubt,
    /// An attempt may still take effect.
    TooEarly,
    /// The venue has refused it. It is not sent again.
    Rejected,
    /// The destination is not on the user's allow-list.
    DestinationNotAllowed,
    /// Somebody decided on what they had asked for themselves.
    SelfApproval,
    /// Sending is halted there. A payout waits for the halt to be lifted; an order does not.
    Halted,
    /// The venue's record says otherwise.
    Contradicted,
}

impl RefusalKind {
    /// Every kind with the SQLSTATE that carries it out of the books, if one does.
    pub const ALL: &[(Self, Option<&'static str>)] = &[
        (Self::InvalidInput, Some("BS001")),
        (Self::InsufficientFunds, Some("BS002")),
        (Self::Frozen, Some("BS003")),
        (Self::Conflict, Some("BS004")),
        (Self::Held, Some("BS005")),
        (Self::Abandoned, Some("BS006")),
        (Self::TooLate, Some("BS007")),
        (Self::NotFound, Some("BS008")),
        (Self::NotAllowed, Some("BS009")),
        (Self::InDoubt, Some("BS010")),
        (Self::TooEarly, Some("BS011")),
        (Self::Rejected, Some("BS013")),
        (Self::DestinationNotAllowed, Some("BS014")),
        (Self::SelfApproval, Some("BS015")),
        (Self::Halted, Some("BS016")),
        (Self::Contradicted, None),
    ];

    /// The kind that an SQLSTATE of the books means.
    pub fn from_sqlstate(code: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, state)| *state == Some(code)).map(|(kind, _)| *kind)
    }

    /// The failure type that shows in Temporal.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().map(|(kind, _)| *kind).find(|kind| kind.name() == name)
    }

    /// True when the refusal proves that the refused step left nothing of ours behind, now or later: the id is
    /// somebody else's, or the input could not have worked. There is then nothing to undo.
    pub fn proves_nothing_of_ours(self) -> bool {
        matches!(self, Self::InvalidInput | Self::Conflict | Self::Held | Self::Abandoned)
    }

    /// True when the books may have been restored to a moment before what the caller knows of.
    pub fn may_be_lost_books(self) -> bool {
        matches!(self, Self::NotFound | Self::NotAllowed)
    }
}

/// A refusal with what a person and a program need to know about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal.
    pub kind: RefusalKind,
    /// One sentence for people. Never parsed.
    pub message: String,
    /// The same for programs: field, holder, state, ...
    pub detail: Value,
}

impl From<InvalidInput> for Refusal {
    fn from(invalid: InvalidInput) -> Self {
        Self {
            kind: RefusalKind::InvalidInput,
            message: invalid.to_string(),
            detail: serde_json::json!({"field": invalid.field, "expected": invalid.expected}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RefusalKind;

    #[test]
    fn names_and_sqlstates_lead_back_to_their_kind() {
        for (kind, state) in RefusalKind::ALL {
            assert_eq!(RefusalKind::from_name(&kind.name()), Some(*kind));
            if let Some(state) = state {
                assert_eq!(RefusalKind::from_sqlstate(state), Some(*kind));
            }
        }
        assert_eq!(RefusalKind::from_sqlstate("40001"), None);
    }
}
