use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Amount, BusinessId, Fields, InvalidInput};

/// What an operator says became of a payout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The venue has paid it.
    Executed,
    /// The venue has not paid it and never will.
    NotExecuted,
}

/// The input of the `resolve` update: an operator's word, with evidence, where the venue gave none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// What became of the payout.
    pub verdict: Verdict,
    /// How the operator knows.
    pub evidence: BusinessId,
    /// Who says so. Only as trustworthy as access to Temporal is.
    pub operator: BusinessId,
    /// The venue's id of the withdrawal, if it was executed.
    pub venue_reference: Option<BusinessId>,
    /// The network fee, if one was taken out of the amount.
    pub network_fee: Option<Amount>,
}

impl Resolution {
    /// Reads the update's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input)?;
        let resolution = Self {
            verdict: fields.text::<VerdictText>("outcome")?.0,
            evidence: fields.id("evidence")?,
            operator: fields.id("operator")?,
            venue_reference: fields.optional_text("venue_reference")?,
            network_fee: fields.optional_text("network_fee")?,
        };
        fields.finish()?;
        match (resolution.verdict, &resolution.venue_reference, resolution.network_fee) {
            (Verdict::Executed, None, _) => {
                Err(InvalidInput::new("venue_reference", "the venue's id of the executed withdrawal"))
            }
            (Verdict::NotExecuted, Some(_), _) => Err(InvalidInput::new("venue_reference", "none, when not executed")),
            (Verdict::NotExecuted, _, Some(_)) => Err(InvalidInput::new("network_fee", "none, when not executed")),
            _ => Ok(resolution),
        }
    }
}

struct VerdictText(Verdict);

impl TryFrom<String> for VerdictText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "executed" => Ok(Self(Verdict::Executed)),
            "not_executed" => Ok(Self(Verdict::NotExecuted)),
            _ => Err("\"executed\" or \"not_executed\"".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Resolution, Verdict};

    #[test]
    fn an_operators_word_needs_an_outcome_evidence_and_a_name() {
        let read = |value| Resolution::read(value).map_err(|e| e.field);
        let good = json!({"outcome": "not_executed", "evidence": "ticket 7", "operator": "ann"});
        assert_eq!(read(good).unwrap().verdict, Verdict::NotExecuted);
        for (input, field) in [
            (json!({"outcome": "maybe", "evidence": "x", "operator": "ann"}), "outcome"),
            (json!({"outcome": "executed", "operator": "ann"}), "evidence"),
            (json!({"outcome": "executed", "evidence": "x", "operator": ""}), "operator"),
            (json!({"outcome": "executed", "evidence": "x", "operator": "ann"}), "venue_reference"),
            (
                json!({"outcome": "not_executed", "evidence": "x", "operator": "ann", "venue_reference": "1"}),
                "venue_reference",
            ),
            (json!({"outcome": "not_executed", "evidence": "x", "operator": "ann", "network_fee": "1"}), "network_fee"),
            (json!({"outcome": "not_executed", "evidence": "x", "operator": "ann", "by": "me"}), "by"),
            (json!(["executed"]), "input"),
        ] {
            assert_eq!(read(input).unwrap_err(), field);
        }
    }
}
