//! `GET` and `PUT /settings`.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{Reply, Shared, market};
use crate::app::App;
use crate::clock::{LATEST_MS, wall_ms};
use crate::fields::{BadInput, Fields, amount, unexpected};
use crate::journal::Event;
use crate::settings::{OnRepeat, Settings};
use crate::spot::engine;
use crate::world::World;

/// How far the server's clock may be shifted, in milliseconds: a year.
const MAX_OFFSET_MS: i64 = 31_536_000_000;

pub(super) async fn show(State(app): Shared) -> Json<Value> {
    Json(describe(&app))
}

/// Changes what is named and leaves the rest. Nothing is changed when anything is wrong.
pub(super) async fn change(State(app): Shared, body: Bytes) -> Reply {
    let mut fields = Fields::from_body(&body)?;
    {
        // One lock from reading to writing: of two changes at once, neither is lost.
        let mut ledger = app.ledger();
        let settings = read(&mut fields, ledger.settings().clone(), &app.world)?;
        let balances = read_balances(&mut fields, &app.world)?;
        fields.finish()?;
        ledger.record(Event::Settings(settings))?;
        let now = wall_ms();
        for (coin, free) in balances {
            ledger.set_free(&coin, free, now)?;
        }
    }
    Ok(Json(describe(&app)))
}

fn read(fields: &mut Fields, mut settings: Settings, world: &World) -> Result<Settings, BadInput> {
    if let Some(name) = fields.text("dedupe")? {
        settings.dedupe = OnRepeat::from_name(&name).ok_or_else(|| {
            let expected = format!("expected none, dedupe or duplicate_error, got \"{name}\"");
            BadInput::new("dedupe", expected)
        })?;
    }
    if let Some(ms) = fields.millis("processing_after_ms")? {
        settings.processing_after_ms = ms;
    }
    if let Some(ms) = fields.millis("complete_after_ms")? {
        settings.complete_after_ms = ms;
    }
    if let Some(ms) = fields.number("clock_offset_ms", -MAX_OFFSET_MS, MAX_OFFSET_MS)? {
        settings.clock_offset_ms = ms;
    }
    if let Some(ms) = fields.millis("min_request_interval_ms")? {
        settings.min_request_interval_ms = ms;
    }
    if let Some(ms) = fields.number("banned_until_ms", 0, LATEST_MS)? {
        settings.banned_until_ms = ms;
    }
    if let Some(list) = fields.any("withdraw_disabled") {
        settings.withdraw_disabled = read_disabled(&list, world)?;
    }
    market::read(fields, &mut settings, world)?;
    Ok(settings)
}

fn read_disabled(list: &Value, world: &World) -> Result<Vec<String>, BadInput> {
    let name = "withdraw_disabled";
    let expected = "a list of networks such as [\"USDT/TRX\"]";
    let wrong = || unexpected(name, expected, list);
    let pairs = list.as_array().ok_or_else(wrong)?.iter();
    pairs
        .map(|pair| {
            let pair = pair.as_str().ok_or_else(wrong)?;
            let (coin, network) = pair.split_once('/').ok_or_else(wrong)?;
            world.network(coin, network).ok_or_else(wrong)?;
            Ok(pair.to_owned())
        })
        .collect()
}

fn read_balances(fields: &mut Fields, world: &World) -> Result<Vec<(String, Decimal)>, BadInput> {
    let Some(value) = fields.any("balances") else {
        return Ok(Vec::new());
    };
    let expected = "an object such as {\"BTC\": \"1.5\"}";
    let balances = value.as_object().ok_or_else(|| unexpected("balances", expected, &value))?.iter();
    balances
        .map(|(coin, value)| {
            let field = format!("balances.{coin}");
            if world.coin(coin).is_none() {
                return Err(BadInput::new(&field, "expected a coin of the exchange"));
            }
            Ok((coin.clone(), amount(&field, value)?))
        })
        .collect()
}

fn describe(app: &App) -> Value {
    let now = wall_ms();
    let ledger = app.ledger();
    let mut shown = json!(ledger.settings());
    for coin in &app.world.coins {
        let free = ledger.free(coin.symbol, now).normalize();
        shown["balances"][coin.symbol] = json!(free.to_string());
    }
    for symbol in &app.world.symbols {
        let price = engine::mid(&ledger, symbol, now).normalize();
        shown["prices"][symbol.name] = json!(price.to_string());
    }
    shown
}
