use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Amount, BusinessId, Destination, Fields, InvalidInput, machine::FundingState, refund::TIMEOUT_SECONDS_MAX,
};

/// One payment that an order needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// What the input calls it: `base`, `quote` or `fee`.
    pub field: String,
    /// Which asset.
    pub asset: BusinessId,
    /// How much.
    pub amount: Amount,
}

/// The input of the `FundOrder` workflow: wait for an order's payments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundRequest {
    /// Names the order.
    pub order_id: BusinessId,
    /// Whose order.
    pub user_id: BusinessId,
    /// Where the payments come in.
    pub venue: BusinessId,
    /// What the deposits' tag has to be; the order's id, unless another is given.
    pub deposit_tag: BusinessId,
    /// What it needs.
    pub needs: Vec<Need>,
    /// Where money goes that the order does not take, by asset.
    pub refund_destination: BTreeMap<String, Destination>,
    /// How long the payments are waited for.
    pub payment_timeout: Duration,
    /// The input as it was given.
    pub input: Value,
}

const PAYMENT_TIMEOUT_SECONDS_DEFAULT: u64 = 600;

impl FundRequest {
    /// Reads the workflow's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input.clone())?;
        let order_id = fields.id("order_id")?;
        let request = Self {
            user_id: fields.user("user_id")?,
            venue: fields.id("venue")?,
            deposit_tag: fields.optional_text("deposit_tag")?.unwrap_or_else(|| order_id.clone()),
            needs: read_needs(&mut fields)?,
            refund_destination: fields
                .objects("refund_destination")?
                .into_iter()
                .map(|(asset, destination)| Ok((asset, Destination::read(destination)?)))
                .collect::<Result<_, InvalidInput>>()?,
            payment_timeout: fields.seconds(
                "payment_timeout_seconds",
                PAYMENT_TIMEOUT_SECONDS_DEFAULT,
                TIMEOUT_SECONDS_MAX,
            )?,
            order_id,
            input,
        };
        fields.finish()?;
        let home = |need: &&Need| !request.refund_destination.contains_key(need.asset.as_str());
        if let Some(need) = request.needs.iter().find(home) {
            let field = format!("refund_destination.{}", need.asset);
            return Err(InvalidInput::new(field, "where this asset goes back to, but it is missing"));
        }
        Ok(request)
    }

    /// What makes two orders with one id the same order.
    pub fn content(&self) -> Value {
        let mut content = json!({
            "user_id": self.user_id,
            "venue": self.venue,
            "deposit_tag": self.deposit_tag,
            "refund_destination": self.refund_destination,
        });
        for need in &self.needs {
            content[format!("{}_asset_id", need.field)] = json!(need.asset);
            content[format!("{}_amount", need.field)] = json!(need.amount);
        }
        content
    }

    /// The same in a few words: `0.5 BTC and 20000 USDT of user u1`.
    pub fn in_words(&self) -> String {
        let needs: Vec<String> = self.needs.iter().map(|need| format!("{} {}", need.amount, need.asset)).collect();
        format!("{} of user {}", needs.join(" and "), self.user_id)
    }
}

fn read_needs(fields: &mut Fields) -> Result<Vec<Need>, InvalidInput> {
    let mut needs = Vec::new();
    for field in ["base", "quote"] {
        let asset = fields.id(&format!("{field}_asset_id"))?;
        needs.push(Need { field: field.into(), asset, amount: fields.amount(&format!("{field}_amount"))? });
    }
    if needs[0].asset == needs[1].asset {
        return Err(InvalidInput::new("quote_asset_id", "another asset than base_asset_id"));
    }
    let fee = (fields.optional_text("fee_asset_id")?, fields.optional_text("fee_amount")?);
    match fee {
        (Some(asset), Some(amount)) => needs.push(Need { field: "fee".into(), asset, amount }),
        (None, None) => {}
        (Some(_), None) => return Err(InvalidInput::new("fee_amount", "the amount of the fee, but it is missing")),
        (None, Some(_)) => return Err(InvalidInput::new("fee_asset_id", "the asset of the fee, but it is missing")),
    }
    Ok(needs)
}

/// What an order needs of an asset, and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funded {
    /// Which asset.
    pub asset_id: String,
    /// How much it needs.
    pub needed: String,
    /// How much is reserved for it.
    pub reserved: String,
}

/// A refund that belongs to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundingRefund {
    /// The refund's id.
    pub refund_id: String,
    /// How its payout stands, or `to be started`.
    pub state: String,
    /// The input of its workflow.
    pub input: Value,
}

/// An order that waits for its payments, or has got them, as the books have it. The result of the workflow, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundingStatus {
    /// Which order.
    pub order_id: String,
    /// How it stands.
    pub state: FundingState,
    /// Whose order.
    pub user_id: String,
    /// Where the payments come in.
    pub venue: String,
    /// Why it expired, or was released.
    pub reason: Option<String>,
    /// How long its payments are still waited for, ms.
    pub remaining_ms: u64,
    /// What it needs and has.
    pub needs: Vec<Funded>,
    /// What goes back.
    pub refunds: Vec<FundingRefund>,
}

impl FundingRefund {
    /// True while no workflow has opened it.
    pub fn is_to_be_started(&self) -> bool {
        self.state == "to be started"
    }
}

impl FundingStatus {
    /// The same in a few words: `0.5 of 0.5 BTC, 0 of 20000 USDT`.
    pub fn in_words(&self) -> String {
        let needs = self.needs.iter().map(|need| format!("{} of {} {}", need.reserved, need.needed, need.asset_id));
        needs.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::FundRequest;

    fn good() -> Value {
        json!({
            "order_id": "o-1", "user_id": "u1", "venue": "binance", "base_asset_id": "BTC", "base_amount": "0.5",
            "quote_asset_id": "USDT", "quote_amount": "20000",
            "refund_destination": {
                "BTC": {"network": "BTC", "address": "bc1q"}, "USDT": {"network": "ETH", "address": "0x"},
            },
        })
    }

    #[test]
    fn a_complete_request_is_read_with_its_defaults() {
        let request = FundRequest::read(good()).unwrap();
        assert_eq!(request.payment_timeout.as_secs(), 600);
        assert_eq!(request.deposit_tag.as_str(), "o-1");
        assert_eq!(request.in_words(), "0.5 BTC and 20000 USDT of user u1");
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (pointer, value, field) in [
            ("/order_id", json!(1), "order_id"),
            ("/quote_asset_id", json!("BTC"), "quote_asset_id"),
            ("/base_amount", json!("-1"), "base_amount"),
            ("/refund_destination", json!("bc1q"), "refund_destination"),
            ("/refund_destination/BTC", json!("bc1q"), "refund_destination.BTC"),
            ("/refund_destination/BTC/address", Value::Null, "refund_destination.BTC.address"),
            ("/refund_destination/USDT/memo", json!("x"), "refund_destination.USDT.memo"),
            ("/fee_amount", json!("1"), "fee_asset_id"),
            ("/fee_asset_id", json!("BTC"), "fee_amount"),
            ("/payment_timeout_seconds", json!(0), "payment_timeout_seconds"),
            ("/memo", json!("x"), "memo"),
        ] {
            let mut input = good();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let parent = if parent.is_empty() { &mut input } else { input.pointer_mut(parent).unwrap() };
            parent[name] = value;
            assert_eq!(FundRequest::read(input).unwrap_err().field, field, "{pointer}");
        }
    }

    #[test]
    fn every_asset_that_is_needed_has_a_way_back() {
        let mut input = good();
        input["refund_destination"].as_object_mut().unwrap().remove("USDT");
        assert_eq!(FundRequest::read(input).unwrap_err().field, "refund_destination.USDT");
    }
}
