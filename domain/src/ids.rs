use std::fmt;

use serde::{Deserialize, Serialize};

/// An id that somebody outside gave: of a refund, a user, an asset.
///
/// Not empty, at most 128 bytes, no control characters and no white space at its ends: an id pasted with a stray blank
/// would be another id, and the same operation would run twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BusinessId(String);

impl BusinessId {
    const BYTES_MAX: usize = 128;
    const EXPECTED: &'static str = "a string of 1 to 128 bytes without control characters or white space at its ends";

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BusinessId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        if fits && text.trim() == text && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(Self::EXPECTED.into())
        }
    }
}

impl From<BusinessId> for String {
    fn from(id: BusinessId) -> Self {
        id.0
    }
}

impl fmt::Display for BusinessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a payout in the books, and of the workflow that should carry it: `<kind>/<business id>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayoutId(String);

impl PayoutId {
    /// The payout of a refund.
    pub fn refund(refund_id: &BusinessId) -> Self {
        Self(format!("refund/{refund_id}"))
    }

    /// The payout of a withdrawal.
    pub fn withdrawal(withdrawal_id: &BusinessId) -> Self {
        Self(format!("withdrawal/{withdrawal_id}"))
    }

    /// Reads an id that the books or a caller of ours wrote.
    pub fn from_books(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PayoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::BusinessId;

    #[test]
    fn an_id_is_short_visible_text() {
        for good in ["r-17", "x", "Überweisung 4", &"a".repeat(128)] {
            assert!(BusinessId::try_from(good.to_owned()).is_ok(), "{good:?}");
        }
        for bad in ["", " ", "r-17 ", "\tr", "a\nb", "a\u{0}b", &"a".repeat(129), &"ä".repeat(65)] {
            assert!(BusinessId::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
