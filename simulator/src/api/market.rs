//! `GET /api/v3/exchangeInfo`
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints>).

use serde_json::{Value, json};

use super::Call;
use super::orders::money;
use crate::answer::Answer;
use crate::params::Params;
use crate::refusal::{BAD_SYMBOL, ILLEGAL_CHARS, OPTIONAL_PARAMS_BAD_COMBO, Refusal};
use crate::spot::{PLACES, Symbol};

/// What can be traded, by which rules.
pub(super) fn exchange_info(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.params.only(&["symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"])?;
    let symbols: Vec<Value> = named(call)?.into_iter().map(describe).collect();
    Ok(Answer::ok(&json!({
        "timezone": "UTC",
        "serverTime": call.server_now,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61_000},
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    })))
}

/// There is no margin trading here; common client libraries ask for its pairs before anything else.
#[allow(clippy::unnecessary_wraps, reason = "all endpoints have one signature")]
pub(super) fn margin_pairs(_: &Call<'_>) -> Result<Answer, Refusal> {
    Ok(Answer::ok(&json!([])))
}

/// The symbols of `symbol` or `symbols`, or all.
pub(super) fn named<'a>(call: &Call<'a>) -> Result<Vec<&'a Symbol>, Refusal> {
    let world = &call.app.world;
    let Some(names) = read_names(&call.params)? else {
        return Ok(world.symbols.iter().collect());
    };
    let found = names.iter().map(|name| world.symbol(name));
    found.collect::<Option<_>>().ok_or_else(|| Refusal::bad_request(BAD_SYMBOL, "Invalid symbol."))
}

fn read_names(params: &Params) -> Result<Option<Vec<String>>, Refusal> {
    match (params.text("symbol")?, params.text("symbols")?) {
        (None, None) => Ok(None),
        (Some(one), None) => Ok(Some(vec![one.to_owned()])),
        (None, Some(list)) => serde_json::from_str(list).map(Some).map_err(|_| {
            let msg = "Illegal characters found in parameter 'symbols'; a JSON array of strings is expected.";
            Refusal::bad_request(ILLEGAL_CHARS, msg)
        }),
        (Some(_), Some(_)) => {
            let msg = "Combination of optional parameters invalid.";
            Err(Refusal::bad_request(OPTIONAL_PARAMS_BAD_COMBO, msg))
        }
    }
}

fn describe(symbol: &Symbol) -> Value {
    json!({
        "symbol": symbol.name,
        "status": "TRADING",
        "baseAsset": symbol.base,
        "baseAssetPrecision": PLACES,
        "quoteAsset": symbol.quote,
        "quotePrecision": PLACES,
        "quoteAssetPrecision": PLACES,
        "baseCommissionPrecision": PLACES,
        "quoteCommissionPrecision": PLACES,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": false,
        "ocoAllowed": false,
        "otoAllowed": false,
        "opoAllowed": false,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": false,
        "cancelReplaceAllowed": false,
        "amendAllowed": false,
        "pegInstructionsAllowed": false,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": false,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": money(symbol.tick),
                "maxPrice": money(symbol.max_price),
                "tickSize": money(symbol.tick),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": money(symbol.step),
                "maxQty": money(symbol.max_qty),
                "stepSize": money(symbol.step),
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": money(symbol.min_notional),
                "applyMinToMarket": true,
                "maxNotional": money(symbol.max_notional),
                "applyMaxToMarket": false,
                // Zero: the last price, not an average, values a market order.
                "avgPriceMins": 0,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    })
}
