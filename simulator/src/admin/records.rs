//! Withdrawals and deposits: what really happened, and records made by hand.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AdminError, Filters, Reply, Shared};
use crate::api::tx_id;
use crate::app::App;
use crate::clock::{LATEST_MS, Millis, wall_ms};
use crate::fields::{BadInput, Fields, unexpected};
use crate::journal::Event;
use crate::ledger::Ledger;
use crate::model::{
    DEPOSIT_CREDITED, DEPOSIT_PENDING, DEPOSIT_REJECTED, DEPOSIT_SUCCESS, DEPOSIT_UNCONFIRMED, DEPOSIT_WRONG, Deposit,
    Ending, Withdrawal, WithdrawalState,
};
use crate::world::{Network, World};

/// Where money goes when a record made by hand does not say.
const SOME_ADDRESS: &str = "0x94df8b352de7f46f64b01d3666bf6e936e44ce60";

pub(super) async fn withdrawals(State(app): Shared, query: Query<BTreeMap<String, String>>) -> Reply {
    let filters = Filters::of(query, &["client_id", "coin"])?;
    let now = wall_ms();
    let ledger = app.ledger();
    let passing = ledger.withdrawals().iter().filter(|record| {
        filters.pass("client_id", record.client_id.as_deref()) && filters.pass("coin", Some(&record.coin))
    });
    let shown = passing.map(|record| describe(record, now)).collect();
    Ok(Json(Value::Array(shown)))
}

/// Makes a withdrawal record without a request. The balance pays for it only when told so.
pub(super) async fn insert(State(app): Shared, body: Bytes) -> Reply {
    let mut fields = Fields::from_body(&body)?;
    let now = wall_ms();
    let mut ledger = app.ledger();
    let record = read_withdrawal(&mut fields, &app, &ledger, now)?;
    fields.finish()?;
    let shown = describe(&record, now);
    ledger.record(Event::Withdrawal(record))?;
    Ok(Json(shown))
}

fn read_withdrawal(fields: &mut Fields, app: &App, ledger: &Ledger, now: Millis) -> Result<Withdrawal, BadInput> {
    let (coin, network) = read_network(fields, &app.world)?;
    let id = fields.text("id")?;
    let id = id.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    if ledger.withdrawal(&id).is_some() {
        return Err(BadInput::new("id", "expected an id that is not in use"));
    }
    let settings = ledger.settings();
    let executed_at_ms = fields.number("executed_at_ms", 0, LATEST_MS)?;
    let executed_at_ms = executed_at_ms.unwrap_or(now);
    let visible_from_ms = fields.number("visible_from_ms", 0, LATEST_MS)?;
    let state = fields.text("state")?;
    let info = fields.text("info")?;
    let forced = state.map(|name| read_ending(&name, info, executed_at_ms)).transpose()?;
    let address = fields.text("address")?;
    Ok(Withdrawal {
        id,
        client_id: fields.text("client_id")?,
        coin,
        network: network.symbol.to_owned(),
        address: address.unwrap_or_else(|| SOME_ADDRESS.to_owned()),
        tag: fields.text("tag")?,
        amount: fields.required_amount("amount")?,
        fee: network.fee,
        debits: fields.flag("debit")?,
        accepted_at_ms: executed_at_ms.min(now),
        executed_at_ms,
        apply_time_ms: executed_at_ms + settings.clock_offset_ms,
        visible_from_ms: visible_from_ms.unwrap_or(executed_at_ms),
        processing_at_ms: executed_at_ms + settings.processing_after_ms,
        complete_at_ms: executed_at_ms + settings.complete_after_ms,
        planned: None,
        forced,
    })
}

/// Puts a withdrawal into a state, from now on and for good; and hides it from lookups until a moment, if told so.
pub(super) async fn force(State(app): Shared, Path(id): Path<String>, body: Bytes) -> Reply {
    let mut fields = Fields::from_body(&body)?;
    let now = wall_ms();
    let name = fields.required_text("state")?;
    let ending = read_ending(&name, fields.text("info")?, now)?;
    let visible_from_ms = fields.number("visible_from_ms", 0, LATEST_MS)?;
    fields.finish()?;
    let mut ledger = app.ledger();
    let mut record = ledger.withdrawal(&id).cloned().ok_or_else(|| AdminError::not_found("withdrawal", &id))?;
    record.forced = Some(ending);
    record.visible_from_ms = visible_from_ms.unwrap_or(record.visible_from_ms);
    let shown = describe(&record, now);
    ledger.record(Event::Withdrawal(record))?;
    Ok(Json(shown))
}

fn read_ending(name: &str, info: Option<String>, at_ms: Millis) -> Result<Ending, BadInput> {
    let state = WithdrawalState::from_name(name).ok_or_else(|| {
        let known = WithdrawalState::names();
        BadInput::new("state", format!("expected one of {known}, got \"{name}\""))
    })?;
    Ok(Ending { at_ms, state, info: info.unwrap_or_default() })
}

fn describe(record: &Withdrawal, now: Millis) -> Value {
    let state = record.state(now);
    let completed = state == WithdrawalState::Completed;
    json!({
        "id": record.id,
        "client_id": record.client_id,
        "coin": record.coin,
        "network": record.network,
        "address": record.address,
        "tag": record.tag,
        "amount": record.amount.normalize().to_string(),
        "fee": record.fee.normalize().to_string(),
        "state": state,
        "info": record.info(now),
        "debited": record.debited(now).normalize().to_string(),
        "accepted_at_ms": record.accepted_at_ms,
        "executed_at_ms": record.executed_at_ms,
        "apply_time_ms": record.apply_time_ms,
        "visible_from_ms": record.visible_from_ms,
        "completed_at_ms": record.completed_at_ms(now),
        "tx_id": completed.then(|| tx_id(record)),
    })
}

pub(super) async fn deposits(State(app): Shared, query: Query<BTreeMap<String, String>>) -> Reply {
    let filters = Filters::of(query, &["coin", "tx_id"])?;
    let ledger = app.ledger();
    let passing = ledger
        .deposits()
        .iter()
        .filter(|deposit| filters.pass("coin", Some(&deposit.coin)) && filters.pass("tx_id", Some(&deposit.tx_id)));
    let shown: Vec<Value> = passing.map(describe_deposit).collect();
    Ok(Json(Value::Array(shown)))
}

/// Makes a deposit, or replaces the one with the same id. The free balance rises once it is credited.
pub(super) async fn deposit(State(app): Shared, body: Bytes) -> Reply {
    let mut fields = Fields::from_body(&body)?;
    let (coin, network) = read_network(&mut fields, &app.world)?;
    let mut ledger = app.ledger();
    let server_now = wall_ms() + ledger.settings().clock_offset_ms;
    let id = fields.text("id")?;
    let insert_time_ms = fields.number("insert_time_ms", 0, LATEST_MS)?;
    let deposit = Deposit {
        id: id.unwrap_or_else(|| Uuid::new_v4().simple().to_string()),
        coin,
        network: network.symbol.to_owned(),
        amount: fields.required_amount("amount")?,
        address: fields.required_text("address")?,
        tag: fields.text("tag")?,
        tx_id: fields.required_text("tx_id")?,
        status: read_deposit_status(&mut fields)?,
        insert_time_ms: insert_time_ms.unwrap_or(server_now),
    };
    fields.finish()?;
    let shown = describe_deposit(&deposit);
    ledger.record(Event::Deposit(deposit))?;
    Ok(Json(shown))
}

fn read_deposit_status(fields: &mut Fields) -> Result<i64, BadInput> {
    let Some(value) = fields.any("status") else {
        return Ok(DEPOSIT_SUCCESS);
    };

    let known =
        [DEPOSIT_PENDING, DEPOSIT_SUCCESS, DEPOSIT_REJECTED, DEPOSIT_CREDITED, DEPOSIT_WRONG, DEPOSIT_UNCONFIRMED];
    let status = value.as_i64().filter(|status| known.contains(status));
    let expected = "0 (pending), 1 (success), 2 (rejected), 6 (credited), 7 (wrong) or 8 (unconfirmed)";
    status.ok_or_else(|| unexpected("status", expected, &value))
}

fn describe_deposit(deposit: &Deposit) -> Value {
    json!({
        "id": deposit.id,
        "coin": deposit.coin,
        "network": deposit.network,
        "amount": deposit.amount.normalize().to_string(),
        "address": deposit.address,
        "tag": deposit.tag,
        "tx_id": deposit.tx_id,
        "status": deposit.status,
        "insert_time_ms": deposit.insert_time_ms,
    })
}

/// `coin`, and `network` or the coin's default one.
fn read_network<'a>(fields: &mut Fields, world: &'a World) -> Result<(String, &'a Network), BadInput> {
    let name = fields.required_text("coin")?;
    let coin =
        world.coin(&name).ok_or_else(|| BadInput::new("coin", format!("expected a known coin, got \"{name}\"")))?;
    let network = fields.text("network")?;
    let network = coin.network(network.as_deref()).ok_or_else(|| {
        let known: Vec<&str> = coin.networks.iter().map(|known| known.symbol).collect();
        BadInput::new("network", format!("expected one of {}", known.join(", ")))
    })?;
    Ok((name, network))
}
