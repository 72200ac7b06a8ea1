//! What reconciliation says: deviations, what a check came to, and what a run has sealed.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{BusinessId, Fields, InvalidInput};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// Money may be wrong: the account concerned is frozen.
    Critical,
}

/// One thing that should not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// What kind of thing.
    pub kind: String,
    /// What it is about, by its name in the books.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// How large it is, in a word that stays the same while nothing gets worse.
    pub measure: Option<String>,
    /// Whose account it concerns, if any.
    pub owner: Option<String>,
    /// In which asset; or in which two, as `BTC/USDT`.
    pub asset: Option<String>,
    /// What was seen.
    pub evidence: Value,
}

/// What the books' entries came to as of one run: later runs hold the books against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Its number.
    pub seq: i64,
    /// How many entries there were.
    pub entries: i64,
    /// The digest of all heads so far, in hex.
    pub digest: String,
}

impl Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.seq, self.entries, self.digest)
    }
}

impl Seal {
    /// Reads what `to_string` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (seq, entries) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { seq, entries, digest: parts.next()?.to_owned() })
    }
}

/// What one check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Which check; a venue's is named after it, as in `orders/binance`.
    pub check: String,
    /// How many deviations it has seen.
    pub deviations: u32,
    /// How many findings it has opened, and closed.
    pub opened: u32,
    /// See `opened`.
    pub closed: u32,
    /// How many accounts it has frozen.
    pub frozen: u32,
    /// What it looked at, in words; or why it could not.
    pub note: String,
    /// Whether it could look at all.
    pub looked: bool,
}

/// An open finding, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its number.
    pub id: i64,
    /// What kind of thing.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// `open` or `closed`.
    pub state: String,
    /// Who answers for it.
    pub acknowledged_by: Option<String>,
    /// The check that looks for it.
    pub found_by: Option<String>,
    /// When it was seen first, RFC 3339.
    pub first_seen: String,
    /// When it was seen last.
    pub last_seen: String,
    /// What was seen.
    pub evidence: Value,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In a sentence.
    pub summary: String,
    /// Each check.
    pub checks: Vec<CheckReport>,
    /// What the books' entries came to.
    pub seal: Option<Seal>,
    /// How many critical findings are open.
    pub open_critical: u32,
    /// How many warnings.
    pub open_warnings: u32,
    /// The first of them, critical ones first.
    pub findings: Vec<Finding>,
}

/// The checks that a run may be limited to.
pub const CHECKS: [&str; 9] =
    ["adopt", "seal", "books", "transit", "reservations", "intents", "rewards", "outbox", "venues"];

/// What a run is asked for. Without any input: every check, and of the books' entries what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconcileRequest {
    /// The checks; empty: all of them.
    pub checks: Vec<String>,
    /// Whether all entries are read again, not only the new ones.
    pub full: bool,
}

impl ReconcileRequest {
    /// Reads the input.
    ///
    /// # Errors
    /// Names the field and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input)?;
        let full = fields.flag("full")?;
        let checks: Vec<BusinessId> = fields.texts("checks")?;
        let checks: Vec<String> = checks.iter().map(ToString::to_string).collect();
        fields.finish()?;
        match checks.iter().find(|check| !CHECKS.contains(&check.as_str())) {
            Some(other) => Err(InvalidInput::new("checks", format!("some of {}, got {other:?}", CHECKS.join(", ")))),
            None => Ok(Self { checks, full }),
        }
    }

    /// Whether that check is asked for.
    pub fn wants(&self, check: &str) -> bool {
        self.checks.is_empty() || self.checks.iter().any(|wanted| wanted == check)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ReconcileRequest, Seal};

    #[test]
    fn a_seal_is_read_as_it_is_written() {
        let seal = Seal { seq: 3, entries: 70, digest: "ab01".into() };
        assert_eq!(Seal::parse(&seal.to_string()), Some(seal));
        assert_eq!(Seal::parse("3:x:ab"), None);
        assert_eq!(Seal::parse("3:4"), None);
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named() {
        let error = |input| ReconcileRequest::read(input).unwrap_err().field;
        assert_eq!(error(json!({"checks": ["book"]})), "checks");
        assert_eq!(error(json!({"checks": "books"})), "checks");
        assert_eq!(error(json!({"full": "yes"})), "full");
        assert_eq!(error(json!({"ful": true})), "ful");
        let request = ReconcileRequest::read(json!({"checks": ["books"], "full": true})).unwrap();
        assert!(request.full && request.wants("books") && !request.wants("seal"));
        assert!(ReconcileRequest::default().wants("seal"));
    }
}
