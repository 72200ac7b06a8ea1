//! `GET /api/v3/depth`, `GET /api/v3/ticker/bookTicker`, `GET /api/v3/ticker/price`
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>).
//!
//! What is shown is the synthetic depth that takers meet; the account's own orders are not part of it.

use serde_json::{Value, json};

use super::Call;
use super::market::named;
use super::orders::{money, read_symbol};
use crate::answer::Answer;
use crate::refusal::Refusal;
use crate::spot::{Level, Side, Symbol, engine};

/// Levels in an answer: the most, and by default.
const MAX_LIMIT: i64 = 5000;
const DEFAULT_LIMIT: i64 = 100;

/// The levels of a symbol, best first.
pub(super) fn depth(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.params.only(&["symbol", "limit", "symbolStatus"])?;
    let symbol = read_symbol(call)?;
    let limit = call.params.integer("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let limit = usize::try_from(limit).unwrap_or_default();
    let ledger = call.app.ledger();
    let side = |taker| {
        let levels = engine::levels(&ledger, symbol, taker, call.now).take(limit);
        levels.map(|level| json!([money(level.price), money(level.qty)])).collect::<Value>()
    };
    Ok(Answer::ok(&json!({
        "lastUpdateId": engine::step_of(call.now),
        "bids": side(Side::Sell),
        "asks": side(Side::Buy),
    })))
}

/// The best price on either side, and what it is good for.
pub(super) fn book_ticker(call: &Call<'_>) -> Result<Answer, Refusal> {
    let ledger = call.app.ledger();
    each(call, |symbol| {
        let best = |taker| engine::levels(&ledger, symbol, taker, call.now).next();
        let [(bid, bid_qty), (ask, ask_qty)] = [Side::Sell, Side::Buy].map(|taker| describe(best(taker)));
        json!({"symbol": symbol.name, "bidPrice": bid, "bidQty": bid_qty, "askPrice": ask, "askQty": ask_qty})
    })
}

/// The middle price, for want of a last one.
pub(super) fn price(call: &Call<'_>) -> Result<Answer, Refusal> {
    let ledger = call.app.ledger();
    each(call, |symbol| json!({"symbol": symbol.name, "price": money(engine::mid(&ledger, symbol, call.now))}))
}

/// One object for `symbol`, a list for `symbols` and for all.
fn each(call: &Call<'_>, describe: impl Fn(&Symbol) -> Value) -> Result<Answer, Refusal> {
    call.params.only(&["symbol", "symbols", "symbolStatus"])?;
    let symbols = named(call)?;
    match (call.params.text("symbol")?, symbols.as_slice()) {
        (Some(_), [one]) => Ok(Answer::ok(&describe(one))),
        (_, all) => Ok(Answer::ok(&all.iter().map(|symbol| describe(symbol)).collect())),
    }
}

/// A side without levels is shown as zeros.
fn describe(level: Option<Level>) -> (String, String) {
    let (price, qty) = level.map(|level| (level.price, level.qty)).unwrap_or_default();
    (money(price), money(qty))
}
