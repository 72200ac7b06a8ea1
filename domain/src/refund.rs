use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Amount, BusinessId, Fields, InvalidInput};

/// Where a payout goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The network that carries it, as the venue names it (`BTC`, `ETH`, `TRX`).
    pub network: BusinessId,
    /// The receiving address on that network.
    pub address: BusinessId,
    /// The memo or destination tag, for networks that use one.
    pub tag: Option<BusinessId>,
}

impl Destination {
    pub(crate) fn read(mut fields: Fields) -> Result<Self, InvalidInput> {
        let destination =
            Self { network: fields.id("network")?, address: fields.id("address")?, tag: fields.optional_text("tag")? };
        fields.finish()?;
        Ok(destination)
    }
}

/// The input of the `Refund` workflow: pay `amount` of `user_id`'s balance back to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequest {
    /// Names the refund; it takes effect at most once, whoever starts it and however often.
    pub refund_id: BusinessId,
    /// Whose balance pays.
    pub user_id: BusinessId,
    /// What is paid.
    pub asset_id: BusinessId,
    /// What leaves the user's balance; the venue's network fee is taken out of it.
    pub amount: Amount,
    /// Where it goes.
    pub destination: Destination,
    /// Why, for people who read the record.
    pub reason: BusinessId,
    /// How long the venue may take before an operator is called.
    pub confirm_timeout: Duration,
    /// The input as it was given.
    pub input: Value,
}

pub(crate) const CONFIRM_TIMEOUT_SECONDS_DEFAULT: u64 = 1_800;
pub(crate) const TIMEOUT_SECONDS_MAX: u64 = 7 * 24 * 3_600;

/// How long the venue of a payout may take before an operator is called.
pub(crate) fn confirm_timeout(fields: &mut Fields) -> Result<Duration, InvalidInput> {
    fields.seconds("confirm_timeout_seconds", CONFIRM_TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX)
}

impl RefundRequest {
    /// Reads the workflow's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input.clone())?;
        let request = Self {
            refund_id: fields.id("refund_id")?,
            user_id: fields.user("user_id")?,
            asset_id: fields.id("asset_id")?,
            amount: fields.amount("amount")?,
            destination: Destination::read(fields.object("destination")?)?,
            reason: fields.id("reason")?,
            confirm_timeout: confirm_timeout(&mut fields)?,
            input,
        };
        fields.finish()?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::RefundRequest;

    fn good() -> Value {
        json!({
            "refund_id": "r-17", "user_id": "u1", "asset_id": "BTC", "amount": "1.5", "reason": "order cancelled",
            "destination": {"network": "BTC", "address": "bc1q", "tag": null},
        })
    }

    #[test]
    fn a_complete_request_is_read_with_the_default_timeout() {
        let request = RefundRequest::read(good()).unwrap();
        assert_eq!(request.confirm_timeout.as_secs(), 1_800);
        assert_eq!(request.destination.tag, None);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let cases: &[(&str, Value, &str)] = &[
            ("/refund_id", json!(17), "refund_id"),
            ("/refund_id", json!(""), "refund_id"),
            ("/refund_id", Value::Null, "refund_id"),
            ("/user_id", json!("a\u{7}b"), "user_id"),
            ("/user_id", json!("~suspense"), "user_id"),
            ("/asset_id", json!("x".repeat(129)), "asset_id"),
            ("/amount", json!(1.5), "amount"),
            ("/amount", json!("1e3"), "amount"),
            ("/amount", json!("NaN"), "amount"),
            ("/amount", json!("-1"), "amount"),
            ("/destination", json!("bc1q"), "destination"),
            ("/destination", json!(["BTC", "bc1q"]), "destination"),
            ("/destination/network", Value::Null, "destination.network"),
            ("/destination/address", json!({}), "destination.address"),
            ("/destination/tag", json!(5), "destination.tag"),
        ];
        for (pointer, value, field) in cases {
            let mut input = good();
            *input.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(RefundRequest::read(input).unwrap_err().field, *field, "{pointer} = {value}");
        }
    }

    #[test]
    fn missing_unknown_and_shapeless_inputs_are_named() {
        for (field, _) in good().as_object().unwrap() {
            let mut input = good();
            input.as_object_mut().unwrap().remove(field);
            let error = RefundRequest::read(input).unwrap_err();
            assert_eq!((&error.field, error.expected.contains("missing")), (field, true));
        }
        let mut input = good();
        input["memo"] = json!("hello");
        assert_eq!(RefundRequest::read(input).unwrap_err().field, "memo");
        let mut input = good();
        input["destination"]["memo"] = json!("hello");
        assert_eq!(RefundRequest::read(input).unwrap_err().field, "destination.memo");
        for shapeless in [json!([good()]), json!("r-17"), json!(17), Value::Null] {
            assert_eq!(RefundRequest::read(shapeless).unwrap_err().field, "input");
        }
    }

    #[test]
    fn the_timeout_has_bounds() {
        for bad in [json!(0), json!(-1), json!(1.5), json!("60"), json!(604_801)] {
            let mut input = good();
            input["confirm_timeout_seconds"] = bad;
            assert_eq!(RefundRequest::read(input).unwrap_err().field, "confirm_timeout_seconds");
        }
    }
}
