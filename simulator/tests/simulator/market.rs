//! The market: what it shows, when it moves, and what it does to orders that rest.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::client::{Sim, read, until, write};
use crate::trading::{OPEN, ORDER, TRADES, bid, with};

const DEPTH: &str = "/api/v3/depth";
const BOOK: &str = "/api/v3/ticker/bookTicker";
const PRICE: &str = "/api/v3/ticker/price";

async fn ask(sim: &Sim, target: &str) -> Value {
    let reply = read(write(sim.api, "GET", target, "", "").await).await.unwrap();
    assert_eq!(reply.status, 200, "{target}: {}", reply.body);
    reply.json()
}

#[tokio::test]
async fn depth_and_tickers_show_what_takers_meet() {
    let sim = Sim::start().await;
    let depth = ask(&sim, &format!("{DEPTH}?symbol=BTCUSDT&limit=2")).await;
    assert_eq!(depth["asks"], json!([["100010.00000000", "0.20000000"], ["100020.00000000", "0.20000000"]]));
    assert_eq!(depth["bids"], json!([["99990.00000000", "0.20000000"], ["99980.00000000", "0.20000000"]]));
    assert!(depth["lastUpdateId"].is_i64());
    let full = ask(&sim, &format!("{DEPTH}?symbol=ETHBTC")).await;
    assert_eq!(full["asks"].as_array().unwrap().len(), 100);
    let book = ask(&sim, &format!("{BOOK}?symbol=ETHBTC")).await;
    let expected = json!({
        "symbol": "ETHBTC", "bidPrice": "0.03999000", "bidQty": "5.00000000",
        "askPrice": "0.04001000", "askQty": "5.00000000",
    });
    assert_eq!(book, expected);
    assert_eq!(ask(&sim, BOOK).await.as_array().unwrap().len(), 4);
    assert_eq!(ask(&sim, &format!("{BOOK}?symbols=%5B%22BTCUSDT%22%5D")).await.as_array().unwrap().len(), 1);
    assert_eq!(ask(&sim, &format!("{PRICE}?symbol=BTCUSDT")).await["price"], "100000.00000000");
    for target in [format!("{DEPTH}?symbol=NOPE"), format!("{BOOK}?symbol=NOPE"), format!("{PRICE}?symbol=NOPE")] {
        let reply = read(write(sim.api, "GET", &target, "", "").await).await.unwrap();
        assert_eq!(reply.refusal(), (400, -1121), "{target}");
    }
}

#[tokio::test]
async fn a_still_market_leaves_orders_alone() {
    let sim = Sim::start().await;
    sim.placed(&bid("rests")).await;
    // Takes the first level, and what is left of it would take it again if it came again.
    let partly = [("price", "100010"), ("quantity", "0.3")];
    assert_eq!(sim.placed(&with(&bid("partly"), &partly)).await["status"], "PARTIALLY_FILLED");
    let step = |depth: Value| depth["lastUpdateId"].as_i64().unwrap();
    let target = format!("{DEPTH}?symbol=BTCUSDT&limit=1");
    let before = step(ask(&sim, &target).await);
    until("some steps", async || (step(ask(&sim, &target).await) > before + 5).then_some(())).await;
    assert_eq!(sim.looked("rests").await["status"], "NEW");
    assert_eq!(sim.looked("partly").await["executedQty"], "0.20000000");
    assert_eq!(sim.list(TRADES, &[]).await.len(), 1);
}

#[tokio::test]
async fn a_price_that_comes_to_an_order_fills_it_as_a_maker() {
    let sim = Sim::start().await;
    sim.settings(json!({"maker_fee": "0.0005"})).await;
    sim.placed(&with(&bid("buys"), &[("quantity", "0.1")])).await;
    sim.placed(&with(&bid("sells"), &[("side", "SELL"), ("price", "110000"), ("quantity", "0.1")])).await;
    // The ask must reach a bid, not the middle only.
    sim.settings(json!({"prices": {"BTCUSDT": "89995"}})).await;
    let low = sim.placed(&with(&bid("low"), &[("price", "89000"), ("quantity", "0.1")])).await;
    assert_eq!(low["status"], "NEW");
    sim.settings(json!({"prices": {"BTCUSDT": "89900"}})).await;
    let filled = until("filled", async || Some(sim.looked("buys").await).filter(|order| order["status"] == "FILLED"));
    assert_eq!(filled.await["cummulativeQuoteQty"], "9000.00000000");
    sim.settings(json!({"prices": {"BTCUSDT": "120000"}})).await;
    until("filled", async || (sim.looked("sells").await["status"] == "FILLED").then_some(())).await;
    let trades = sim.list(TRADES, &[]).await;
    let told: Vec<_> = trades.iter().map(|trade| (&trade["price"], &trade["isMaker"], &trade["commission"])).collect();
    let maker = json!(true);
    let expected = [
        (&json!("90000.00000000"), &maker, &json!("0.00005000")),
        (&json!("110000.00000000"), &maker, &json!("5.50000000")),
    ];
    assert_eq!(told, expected);
    let [rest] = sim.list(OPEN, &[]).await.try_into().unwrap();
    assert_eq!(rest["clientOrderId"], "low");
}

#[tokio::test]
async fn a_share_fills_in_parts_or_not_at_all() {
    let sim = Sim::start().await;
    sim.settings(json!({"fill_share": "0.4"})).await;
    sim.placed(&with(&bid("parts"), &[("quantity", "0.1")])).await;
    sim.settings(json!({"prices": {"BTCUSDT": "89000"}})).await;
    until("filled", async || (sim.looked("parts").await["status"] == "FILLED").then_some(())).await;
    let trades = sim.list(TRADES, &[]).await;
    let parts: Vec<&str> = trades.iter().map(|trade| trade["qty"].as_str().unwrap()).collect();
    assert_eq!(parts, ["0.04000000", "0.04000000", "0.02000000"]);
    let times: Vec<i64> = trades.iter().map(|trade| trade["time"].as_i64().unwrap()).collect();
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");

    sim.settings(json!({"fill_share": "0", "prices": {"BTCUSDT": "100000"}})).await;
    sim.placed(&with(&bid("left"), &[("quantity", "0.1")])).await;
    sim.settings(json!({"prices": {"BTCUSDT": "80000"}})).await;
    sim.placed(&with(&bid("taker"), &[("quantity", "0.1")])).await;
    assert_eq!(sim.looked("taker").await["status"], "FILLED");
    assert_eq!(sim.looked("left").await["status"], "NEW");
}

#[tokio::test]
async fn a_moving_market_fills_what_it_crosses_and_keeps_the_books() {
    let mut sim = Sim::start().await;
    sim.settings(json!({"price_volatility": "0.5", "price_seed": 7, "fill_share": "0.5", "fee_asset": "BNB"})).await;
    let mid = async |sim: &Sim| ask(sim, &format!("{PRICE}?symbol=BTCUSDT")).await["price"].clone();
    let first = mid(&sim).await;
    until("another price", async || (mid(&sim).await != first).then_some(())).await;
    // Orders close to the market on both sides, again and again, until some were filled.
    let mut placed = 0;
    until("fills", async || {
        let price: Decimal = mid(&sim).await.as_str().unwrap().parse().unwrap();
        for (side, per_mille) in [("BUY", 999), ("SELL", 1_001)] {
            placed += 1;
            let (id, limit) = (placed.to_string(), (price * Decimal::new(per_mille, 3)).round_dp(2).to_string());
            sim.place(&with(&bid(&id), &[("side", side), ("price", &limit), ("quantity", "0.01")])).await;
        }
        let trades = sim.admin("GET", "/trades", Value::Null).await;
        trades.as_array().unwrap().iter().any(|trade| trade["maker"] == true).then_some(())
    })
    .await;
    sim.settings(json!({"price_volatility": "0"})).await;
    let before = sim.admin("GET", "/trades", Value::Null).await;
    let amount = |trade: &Value, field: &str| trade[field].as_str().unwrap().parse::<Decimal>().unwrap();
    let mut bnb = Decimal::from(500);
    for trade in before.as_array().unwrap() {
        assert_eq!(trade["fee_asset"], "BNB");
        bnb -= amount(trade, "fee");
    }
    assert_eq!(sim.balance("BNB").await.0, bnb.normalize().to_string());
    for order in sim.admin("GET", "/orders", Value::Null).await.as_array().unwrap() {
        let of_order = before.as_array().unwrap().iter().filter(|trade| trade["order_id"] == order["id"]);
        let sum: Decimal = of_order.map(|trade| amount(trade, "qty")).sum();
        assert_eq!(sum, amount(order, "executed_qty"), "{order}");
    }
    let balances = (sim.balance("BTC").await, sim.balance("USDT").await);
    sim.restart().await;
    assert_eq!((sim.balance("BTC").await, sim.balance("USDT").await), balances);
}

#[tokio::test]
async fn a_late_order_that_the_price_ran_away_from_is_rejected() {
    let sim = Sim::start().await;
    let market = [("type", "MARKET"), ("price", ""), ("timeInForce", ""), ("quantity", "0.9")];
    sim.fault(json!({"path": ORDER, "fault": "execute_late", "ms": 1_000})).await;
    assert!(sim.try_call("POST", ORDER, &with(&bid("late"), &market)).await.is_none());
    sim.settings(json!({"prices": {"BTCUSDT": "200000"}})).await;
    until("in the market", async || (sim.look("late").await.status == 200).then_some(())).await;
    assert_eq!(sim.looked("late").await["status"], "REJECTED");
    assert_eq!(sim.balance("USDT").await, ("100000".into(), "0".into()));
}

#[tokio::test]
async fn a_fee_in_a_third_asset_is_taken_while_it_lasts() {
    let sim = Sim::start().await;
    // A level is worth 20000 USDT and costs 20 in fees, which is 0.025 BNB.
    sim.settings(json!({"fee_asset": "BNB", "balances": {"BNB": "0.03"}})).await;
    let market = [("type", "MARKET"), ("price", ""), ("timeInForce", ""), ("quantity", "0.4")];
    let taken = sim.placed(&with(&bid("fees"), &market)).await;
    let fees: Vec<_> = taken["fills"].as_array().unwrap().iter().map(|fill| fill["commissionAsset"].clone()).collect();
    assert_eq!(fees, ["BNB", "BTC"]);
    assert_eq!(sim.balance("BNB").await.0, "0.0049975");
    assert_eq!(sim.balance("BTC").await.0, "10.3998");
}
