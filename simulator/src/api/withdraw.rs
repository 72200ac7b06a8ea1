//! `POST /sapi/v1/capital/withdraw/apply`
//! (<https://developers.binance.com/docs/wallet/capital/withdraw>).

use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Call, not_recorded};
use crate::answer::Answer;
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::model::{Ending, Withdrawal};
use crate::params::decimal;
use crate::refusal::{
    ABOVE_MAXIMUM, BAD_ADDRESS_TAG, BELOW_MINIMUM, DUPLICATE_ORDER_ID, ILLEGAL_ADDRESS, INSUFFICIENT_BALANCE,
    NOT_A_MULTIPLE, Refusal, UNKNOWN_ASSET, WITHDRAW_DISABLED,
};
use crate::settings::OnRepeat;
use crate::world::Network;

/// A withdrawal that passed all checks but that of the balance.
struct Order<'a> {
    coin: &'a str,
    network: &'a Network,
    address: &'a str,
    tag: Option<&'a str>,
    client_id: Option<&'a str>,
    amount: Decimal,
}

/// Takes the amount out of the free balance and starts a withdrawal. The network's fee is inside the
/// amount: the destination gets `amount - fee`.
pub(super) fn apply(call: &Call<'_>) -> Result<Answer, Refusal> {
    let mut ledger = call.app.ledger();
    let order = read_order(call, &ledger)?;
    if let Some(answer) = seen_before(&order, &ledger)? {
        return Ok(answer);
    }
    if ledger.spendable(order.coin, call.now) < order.amount {
        let msg = "You have insufficient balance.";
        return Err(Refusal::bad_request(INSUFFICIENT_BALANCE, msg));
    }
    let record = start(call, &order, &ledger);
    let id = record.id.clone();
    ledger.record(Event::Withdrawal(record)).map_err(|error| not_recorded(&error))?;
    Ok(Answer::withdrawal(&id))
}

fn read_order<'a>(call: &'a Call<'_>, ledger: &Ledger) -> Result<Order<'a>, Refusal> {
    let params = &call.params;
    let coin_name = params.required("coin")?;
    let address = params.required("address")?;
    let amount = params.required("amount")?;
    let client_id = params.text("withdrawOrderId")?;
    let network_name = params.text("network")?;
    let tag = params.text("addressTag")?;

    let coin = call.app.world.coin(coin_name).ok_or_else(|| {
        let msg = "We don't have this asset.";
        Refusal::bad_request(UNKNOWN_ASSET, msg)
    })?;
    let open = coin.network(network_name).filter(|network| !ledger.settings().is_disabled(coin_name, network.symbol));
    let network = open.ok_or_else(|| {
        let msg = "Current asset is not open for withdrawal.";
        Refusal::bad_request(WITHDRAW_DISABLED, msg)
    })?;
    check_destination(network, address, tag)?;
    Ok(Order { coin: coin_name, network, address, tag, client_id, amount: read_amount(amount, network)? })
}

fn check_destination(network: &Network, address: &str, tag: Option<&str>) -> Result<(), Refusal> {
    if !network.address.is_match(address) {
        return Err(Refusal::bad_request(ILLEGAL_ADDRESS, "Illegal address."));
    }
    // Tags are optional where a network has them, and refused where it has none: a tag that is sent
    // in vain is more likely a mistake than a wish.
    let tag_fits = tag.is_none_or(|tag| {
        let rule = network.tag.as_ref();
        rule.is_some_and(|rule| rule.is_match(tag))
    });
    if !tag_fits {
        let msg = "Address tag validation is not passed.";
        return Err(Refusal::bad_request(BAD_ADDRESS_TAG, msg));
    }
    Ok(())
}

fn read_amount(text: &str, network: &Network) -> Result<Decimal, Refusal> {
    let amount = decimal("amount", text)?;
    let (min, max, multiple) = (network.min, network.max, network.multiple);
    if !(amount % multiple).is_zero() {
        let msg = format!("Asset withdrawal must be an integer multiple of {multiple}.");
        return Err(Refusal::bad_request(NOT_A_MULTIPLE, msg));
    }
    if amount < min {
        let msg = format!("Not less than the minimum pick-up quantity {min}.");
        return Err(Refusal::bad_request(BELOW_MINIMUM, msg));
    }
    if amount > max {
        let msg = format!("The withdrawal exceeds the maximum amount {max}.");
        return Err(Refusal::bad_request(ABOVE_MAXIMUM, msg));
    }
    Ok(amount)
}

/// The answer to a `withdrawOrderId` that was used before, by the dedupe setting.
fn seen_before(order: &Order<'_>, ledger: &Ledger) -> Result<Option<Answer>, Refusal> {
    let dedupe = ledger.settings().dedupe;
    let Some(client_id) = order.client_id.filter(|_| dedupe != OnRepeat::Execute) else {
        return Ok(None);
    };
    match ledger.first_with_client_id(client_id) {
        None => Ok(None),
        Some(first) if dedupe == OnRepeat::AnswerFirst => Ok(Some(Answer::withdrawal(&first.id))),
        Some(_) => {
            let msg = "duplicate withdrawOrderId";
            Err(Refusal::bad_request(DUPLICATE_ORDER_ID, msg))
        }
    }
}

fn start(call: &Call<'_>, order: &Order<'_>, ledger: &Ledger) -> Withdrawal {
    let settings = ledger.settings();
    let twist = call.twist;
    let executed_at_ms = call.now + twist.late_ms;
    let planned = twist.ending.as_ref().map(|(after_ms, state, info)| Ending {
        at_ms: executed_at_ms + after_ms,
        state: *state,
        info: info.clone(),
    });
    Withdrawal {
        id: Uuid::new_v4().simple().to_string(),
        client_id: order.client_id.map(str::to_owned),
        coin: order.coin.to_owned(),
        network: order.network.symbol.to_owned(),
        address: order.address.to_owned(),
        tag: order.tag.map(str::to_owned),
        amount: order.amount,
        fee: order.network.fee,
        debits: true,
        accepted_at_ms: call.now,
        executed_at_ms,
        apply_time_ms: executed_at_ms + settings.clock_offset_ms,
        visible_from_ms: executed_at_ms + twist.hide_ms,
        processing_at_ms: executed_at_ms + settings.processing_after_ms,
        complete_at_ms: executed_at_ms + settings.complete_after_ms,
        planned,
        forced: None,
    }
}
