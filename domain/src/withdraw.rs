use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Amount, BusinessId, Destination, Fields, InvalidInput,
    refund::{TIMEOUT_SECONDS_MAX, confirm_timeout},
};

/// The input of the `Withdraw` workflow: pay `amount` of `user_id`'s balance out, to an address on the user's allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawRequest {
    /// Names the withdrawal; it takes effect at most once, whoever starts it and however often.
    pub withdrawal_id: BusinessId,
    /// Whose balance pays.
    pub user_id: BusinessId,
    /// Who asks for it. Somebody else has to approve it, where it needs approval.
    pub requested_by: BusinessId,
    /// What is paid.
    pub asset_id: BusinessId,
    /// What leaves the user's balance; the venue's network fee is taken out of it.
    pub amount: Amount,
    /// Where it goes.
    pub destination: Destination,
    /// How long an approval is waited for.
    pub approval_timeout: Duration,
    /// How long the venue may take before an operator is called.
    pub confirm_timeout: Duration,
    /// The input as it was given.
    pub input: Value,
}

pub(crate) const APPROVAL_TIMEOUT_SECONDS_DEFAULT: u64 = 24 * 3_600;

/// How long an approval is waited for.
pub(crate) fn approval_timeout(fields: &mut Fields) -> Result<Duration, InvalidInput> {
    fields.seconds("approval_timeout_seconds", APPROVAL_TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX)
}

impl WithdrawRequest {
    /// Reads the workflow's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input.clone())?;
        let request = Self {
            withdrawal_id: fields.id("withdrawal_id")?,
            user_id: fields.user("user_id")?,
            requested_by: fields.id("requested_by")?,
            asset_id: fields.id("asset_id")?,
            amount: fields.amount("amount")?,
            destination: Destination::read(fields.object("destination")?)?,
            approval_timeout: approval_timeout(&mut fields)?,
            confirm_timeout: confirm_timeout(&mut fields)?,
            input,
        };
        fields.finish()?;
        Ok(request)
    }
}

/// The input of the `approve` and `reject` updates: a second person's word on a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who decides. Only as trustworthy as access to Temporal is.
    pub operator: BusinessId,
    /// Why, for the record.
    pub evidence: BusinessId,
}

impl Decision {
    /// Reads the update's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input)?;
        let decision = Self { operator: fields.id("operator")?, evidence: fields.id("evidence")? };
        fields.finish()?;
        Ok(decision)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Decision, WithdrawRequest};

    fn good() -> Value {
        json!({
            "withdrawal_id": "w-1", "user_id": "u1", "requested_by": "u1", "asset_id": "BTC", "amount": "1.5",
            "destination": {"network": "BTC", "address": "bc1q"},
        })
    }

    #[test]
    fn a_complete_request_is_read_with_the_default_timeouts() {
        let request = WithdrawRequest::read(good()).unwrap();
        assert_eq!(request.approval_timeout.as_secs(), 86_400);
        assert_eq!(request.confirm_timeout.as_secs(), 1_800);
    }

    #[test]
    fn every_wrong_missing_or_unknown_field_is_named() {
        for (field, bad) in [
            ("withdrawal_id", json!(1)),
            ("user_id", json!("~suspense")),
            ("requested_by", json!("")),
            ("amount", json!("0")),
            ("destination", json!("bc1q")),
            ("approval_timeout_seconds", json!(0)),
            ("confirm_timeout_seconds", json!("1")),
            ("reason", json!("none of its fields")),
        ] {
            let mut input = good();
            input[field] = bad;
            assert_eq!(WithdrawRequest::read(input).unwrap_err().field, field);
        }
        for field in ["withdrawal_id", "user_id", "requested_by", "asset_id", "amount", "destination"] {
            let mut input = good();
            input.as_object_mut().unwrap().remove(field);
            assert_eq!(WithdrawRequest::read(input).unwrap_err().field, field);
        }
        assert_eq!(WithdrawRequest::read(json!([good()])).unwrap_err().field, "input");
    }

    #[test]
    fn a_decision_needs_a_name_and_a_reason() {
        for (input, field) in [
            (json!({"evidence": "x"}), "operator"),
            (json!({"operator": "ann"}), "evidence"),
            (json!({"operator": "ann", "evidence": "x", "why": "y"}), "why"),
            (json!("ann"), "input"),
        ] {
            assert_eq!(Decision::read(input).unwrap_err().field, field);
        }
    }
}
