//! `GET /api/v3/account`
//! (<https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints>) and
//! `GET /sapi/v1/capital/config/getall`
//! (<https://developers.binance.com/docs/wallet/capital/all-coins-info>).

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};

use super::Call;
use super::orders::money;
use crate::answer::Answer;
use crate::refusal::Refusal;
use crate::world::{Coin, Network};

const NO_MONEY: &str = "0.00000000";

/// Balances of the spot account. A withdrawal leaves the free balance when it is executed; an open order locks what it
/// may still spend.
#[allow(clippy::unnecessary_wraps, reason = "all endpoints have one signature")]
pub(super) fn account(call: &Call<'_>) -> Result<Answer, Refusal> {
    let ledger = call.app.ledger();
    let balances = call.app.world.coins.iter().map(|coin| {
        let (free, locked) = (ledger.free(coin.symbol, call.now), ledger.locked(coin.symbol, call.now));
        json!({"asset": coin.symbol, "free": money(free), "locked": money(locked)})
    });
    let balances: Vec<Value> = balances.collect();
    let settings = ledger.settings();
    Ok(Answer::ok(&json!({
        "makerCommission": basis_points(settings.maker_fee),
        "takerCommission": basis_points(settings.taker_fee),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": money(settings.maker_fee),
            "taker": money(settings.taker_fee),
            "buyer": NO_MONEY,
            "seller": NO_MONEY,
        },
        "canTrade": true,
        "canWithdraw": true,
        "canDeposit": true,
        "brokered": false,
        "requireSelfTradePrevention": false,
        "preventSor": false,
        "updateTime": call.server_now,
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
        "uid": 1,
    })))
}

/// A share in parts of ten thousand, as the older fields of the account tell it.
fn basis_points(share: Decimal) -> i64 {
    (share * Decimal::from(10_000)).to_i64().unwrap_or_default()
}

/// Coins, their networks and what a withdrawal costs.
#[allow(clippy::unnecessary_wraps, reason = "all endpoints have one signature")]
pub(super) fn all_coins(call: &Call<'_>) -> Result<Answer, Refusal> {
    let coins = call.app.world.coins.iter().map(|coin| describe(coin, call));
    Ok(Answer::ok(&Value::Array(coins.collect())))
}

fn describe(coin: &Coin, call: &Call<'_>) -> Value {
    let ledger = call.app.ledger();
    let settings = ledger.settings();
    let open = |network: &Network| !settings.is_disabled(coin.symbol, network.symbol);
    let networks = coin.networks.iter();
    let networks: Vec<Value> = networks.map(|network| describe_network(coin.symbol, network, open(network))).collect();
    json!({
        "coin": coin.symbol,
        "name": coin.name,
        "depositAllEnable": true,
        "withdrawAllEnable": coin.networks.iter().any(open),
        "trading": true,
        "isLegalMoney": false,
        "free": money(ledger.free(coin.symbol, call.now)),
        "locked": money(ledger.locked(coin.symbol, call.now)),
        "freeze": NO_MONEY,
        "withdrawing": money(ledger.withdrawing(coin.symbol, call.now)),
        "ipoable": NO_MONEY,
        "ipoing": NO_MONEY,
        "storage": NO_MONEY,
        "networkList": networks,
    })
}

fn describe_network(coin: &str, network: &Network, open: bool) -> Value {
    let tag = network.tag.as_ref().map_or("", |tag| tag.as_str());
    json!({
        "network": network.symbol,
        "coin": coin,
        "name": network.name,
        "isDefault": network.is_default,
        "depositEnable": true,
        "withdrawEnable": open,
        "depositDesc": "",
        "withdrawDesc": "",
        "specialTips": "",
        "addressRegex": network.address.as_str(),
        "memoRegex": tag,
        "sameAddress": !tag.is_empty(),
        "minConfirm": network.min_confirm,
        "unLockConfirm": network.min_confirm,
        "withdrawFee": network.fee.to_string(),
        "withdrawMin": network.min.to_string(),
        "withdrawMax": network.max.to_string(),
        "withdrawIntegerMultiple": network.multiple.to_string(),
        "withdrawInternalMin": network.multiple.to_string(),
        "estimatedArrivalTime": 5,
        "busy": false,
    })
}
