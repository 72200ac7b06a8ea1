//! `GET /api/v3/myTrades`
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints>).

use serde_json::{Value, json};

use super::Call;
use super::orders::{Interval, cut, money, read_limit, read_symbol};
use crate::answer::Answer;
use crate::refusal::{OPTIONAL_PARAMS_BAD_COMBO, Refusal};
use crate::spot::{Side, Trade};

/// Trades of a symbol: from an id or an interval on, or the newest. A trade may come to be shown after the end of its
/// order, and after trades with higher ids.
pub(super) fn my_trades(call: &Call<'_>) -> Result<Answer, Refusal> {
    let params = &call.params;
    params.only(&["symbol", "orderId", "startTime", "endTime", "fromId", "limit"])?;
    let symbol = read_symbol(call)?;
    let order_id = params.integer("orderId")?.map(i64::unsigned_abs);
    let from_id = params.integer("fromId")?.map(i64::unsigned_abs);
    let interval = Interval::read(params)?;
    let limit = read_limit(params)?;
    // "Only these combinations of parameters are supported": times go with nothing else.
    if interval.is_named() && (order_id.is_some() || from_id.is_some()) {
        let msg = "Combination of optional parameters invalid.";
        return Err(Refusal::bad_request(OPTIONAL_PARAMS_BAD_COMBO, msg));
    }
    let ledger = call.app.ledger();
    let matching = ledger.book().trades().iter().filter(|trade| {
        trade.symbol == symbol.name
            && call.now >= trade.visible_from_ms
            && order_id.is_none_or(|id| trade.order_id == id)
            && from_id.is_none_or(|from| trade.id >= from)
            && interval.holds(trade.time_ms)
    });
    let page = cut(matching.collect(), limit, from_id.is_some() || interval.from.is_some());
    Ok(Answer::ok(&page.into_iter().map(describe).collect()))
}

fn describe(trade: &Trade) -> Value {
    json!({
        "symbol": trade.symbol,
        "id": trade.id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": money(trade.price),
        "qty": money(trade.qty),
        "quoteQty": money(trade.quote_qty),
        "commission": money(trade.fee),
        "commissionAsset": trade.fee_asset,
        "time": trade.time_ms,
        "isBuyer": trade.side == Side::Buy,
        "isMaker": trade.maker,
        "isBestMatch": true,
    })
}
