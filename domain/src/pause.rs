use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Amount, BusinessId, Destination, Fields, InvalidInput,
    machine::PauseState,
    refund::{TIMEOUT_SECONDS_MAX, confirm_timeout},
    withdraw::approval_timeout,
};

/// The input of the `PauseAndWithdraw` workflow: stop a strategy, wait until all its money is free, and pay some out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// Names the operation; it leads to one withdrawal, of this id.
    pub operation_id: BusinessId,
    /// Which strategy to stop.
    pub strategy_key: BusinessId,
    /// Whose strategy, and whose balance pays.
    pub user_id: BusinessId,
    /// Who asks for it.
    pub requested_by: BusinessId,
    /// What is paid.
    pub asset_id: BusinessId,
    /// What leaves the user's balance.
    pub amount: Amount,
    /// Where it goes.
    pub destination: Destination,
    /// How long the venue may take to end the strategy's orders.
    pub drain_timeout: Duration,
    /// The input as it was given.
    pub input: Value,
}

const DRAIN_TIMEOUT_SECONDS_DEFAULT: u64 = 120;

impl PauseRequest {
    /// Reads the workflow's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input.clone())?;
        let request = Self {
            operation_id: fields.id("operation_id")?,
            strategy_key: fields.id("strategy_key")?,
            user_id: fields.user("user_id")?,
            requested_by: fields.id("requested_by")?,
            asset_id: fields.id("asset_id")?,
            amount: fields.amount("amount")?,
            destination: Destination::read(fields.object("destination")?)?,
            drain_timeout: fields.seconds(
                "drain_timeout_seconds",
                DRAIN_TIMEOUT_SECONDS_DEFAULT,
                TIMEOUT_SECONDS_MAX,
            )?,
            input,
        };
        approval_timeout(&mut fields)?;
        confirm_timeout(&mut fields)?;
        fields.finish()?;
        Ok(request)
    }

    /// What makes two operations with one id the same operation.
    pub fn content(&self) -> Value {
        json!({
            "strategy_key": self.strategy_key,
            "user_id": self.user_id,
            "requested_by": self.requested_by,
            "asset_id": self.asset_id,
            "amount": self.amount,
            "destination.network": self.destination.network,
            "destination.address": self.destination.address,
            "destination.tag": self.destination.tag,
        })
    }

    /// The input of the withdrawal that the operation ends in.
    pub fn withdrawal(&self) -> Value {
        let mut input = json!({
            "withdrawal_id": self.operation_id,
            "user_id": self.user_id,
            "requested_by": self.requested_by,
            "asset_id": self.asset_id,
            "amount": self.amount,
            "destination": self.destination,
        });
        for field in ["approval_timeout_seconds", "confirm_timeout_seconds"] {
            input[field] = self.input.get(field).cloned().unwrap_or_default();
        }
        input
    }
}

/// A pause-and-withdraw as the books have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// Which operation.
    pub operation_id: String,
    /// Which strategy.
    pub strategy_key: String,
    /// The venue it trades at.
    pub venue: String,
    /// How far it is.
    pub state: PauseState,
    /// Why it was blocked, or failed.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PauseRequest;
    use crate::WithdrawRequest;

    #[test]
    fn the_withdrawal_of_a_pause_is_one_that_withdraw_reads() {
        let mut input = json!({
            "operation_id": "p-1", "strategy_key": "mm-1", "user_id": "u1", "requested_by": "u1", "asset_id": "BTC",
            "amount": "1.5", "destination": {"network": "BTC", "address": "bc1q"}, "drain_timeout_seconds": 5,
            "confirm_timeout_seconds": 7,
        });
        let request = PauseRequest::read(input.clone()).unwrap();
        let withdrawal = WithdrawRequest::read(request.withdrawal()).unwrap();
        assert_eq!(withdrawal.withdrawal_id, request.operation_id);
        assert_eq!((withdrawal.confirm_timeout.as_secs(), withdrawal.approval_timeout.as_secs()), (7, 86_400));
        input["approval_timeout_seconds"] = json!("soon");
        assert_eq!(PauseRequest::read(input.clone()).unwrap_err().field, "approval_timeout_seconds");
        input.as_object_mut().unwrap().remove("approval_timeout_seconds");
        input["strategy"] = json!("mm-1");
        assert_eq!(PauseRequest::read(input).unwrap_err().field, "strategy");
    }
}
