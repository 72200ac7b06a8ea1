//! Orders: their life, what they lock and bring, and how they are found again.

use serde_json::{Value, json};

use crate::client::{Sim, now_ms, read, write};
use crate::trading::{ALL, INFO, OPEN, ORDER, TRADES, bid, with};

#[tokio::test]
async fn symbols_and_their_filters_are_told_to_anybody() {
    let sim = Sim::start().await;
    let all = read(write(sim.api, "GET", INFO, "", "").await).await.unwrap().json();
    let names: Vec<&str> = all["symbols"].as_array().unwrap().iter().map(|s| s["symbol"].as_str().unwrap()).collect();
    assert_eq!(names, ["BTCUSDT", "ETHUSDT", "ETHBTC", "BNBUSDT"]);
    assert!(all["serverTime"].as_i64().unwrap() <= now_ms());
    let target = format!("{INFO}?symbol=ETHBTC");
    let one = read(write(sim.api, "GET", &target, "", "").await).await.unwrap().json();
    assert_eq!(one["symbols"].as_array().unwrap().len(), 1);
    let filters = one["symbols"][0]["filters"].as_array().unwrap();
    let filter = |kind: &str| filters.iter().find(|filter| filter["filterType"] == kind).unwrap();
    assert_eq!(filter("PRICE_FILTER")["tickSize"], "0.00001000");
    assert_eq!(filter("LOT_SIZE")["stepSize"], "0.00010000");
    assert_eq!(filter("NOTIONAL")["minNotional"], "0.00010000");
    let target = format!("{INFO}?symbols=%5B%22BTCUSDT%22,%22NOPE%22%5D");
    let unknown = read(write(sim.api, "GET", &target, "", "").await).await.unwrap();
    assert_eq!(unknown.refusal(), (400, -1121));
}

#[tokio::test]
async fn a_bid_locks_its_cost_until_it_is_cancelled() {
    let sim = Sim::start().await;
    let placed = sim.placed(&bid("a")).await;
    assert_eq!(placed["status"], "NEW");
    assert_eq!(placed["fills"], json!([]));
    assert_eq!(sim.balance("USDT").await, ("55000".into(), "45000".into()));
    let found = sim.looked("a").await;
    for (field, value) in [
        ("orderId", placed["orderId"].clone()),
        ("clientOrderId", json!("a")),
        ("price", json!("90000.00000000")),
        ("origQty", json!("0.50000000")),
        ("executedQty", json!("0.00000000")),
        ("cummulativeQuoteQty", json!("0.00000000")),
        ("status", json!("NEW")),
        ("timeInForce", json!("GTC")),
        ("type", json!("LIMIT")),
        ("side", json!("BUY")),
        ("isWorking", json!(true)),
    ] {
        assert_eq!(found[field], value, "{field}");
    }
    assert_eq!(sim.list(OPEN, &[]).await, [found]);
    let cancelled = sim.cancel("a").await.json();
    assert_eq!(cancelled["status"], "CANCELED");
    assert_eq!(cancelled["origClientOrderId"], "a");
    assert_ne!(cancelled["clientOrderId"], "a");
    assert_eq!(sim.balance("USDT").await, ("100000".into(), String::from("0")));
    // It goes by the id of its cancel now.
    assert_eq!(sim.look("a").await.refusal(), (400, -2013));
    let found = sim.looked(cancelled["clientOrderId"].as_str().unwrap()).await;
    assert_eq!((&found["status"], &found["clientOrderId"]), (&json!("CANCELED"), &cancelled["clientOrderId"]));
    assert!(sim.list(OPEN, &[]).await.is_empty());
    assert_eq!(sim.list(ALL, &[]).await.len(), 1);
    assert_eq!(sim.cancel("a").await.refusal(), (400, -2011));
}

#[tokio::test]
async fn fills_by_hand_move_balances_and_end_the_order() {
    let sim = Sim::start().await;
    sim.placed(&bid("f")).await;
    sim.fill("f", json!({"qty": "0.2"})).await;
    assert_eq!(sim.looked("f").await["status"], "PARTIALLY_FILLED");
    assert_eq!(sim.balance("USDT").await, ("55000".into(), "27000".into()));
    assert_eq!(sim.balance("BTC").await, ("10.1998".into(), "0".into()));
    let later = now_ms() + 3_600_000;
    let fill = json!({"qty": "0.3", "price": "80000", "fee": "0.03", "fee_asset": "BNB", "visible_from_ms": later});
    sim.fill("f", fill).await;
    let found = sim.looked("f").await;
    assert_eq!(found["status"], "FILLED");
    assert_eq!(found["executedQty"], "0.50000000");
    assert_eq!(found["cummulativeQuoteQty"], "42000.00000000");
    assert_eq!(sim.balance("USDT").await, ("58000".into(), "0".into()));
    assert_eq!(sim.balance("BNB").await, ("499.97".into(), "0".into()));
    // The second trade is later than the end of its order.
    let id = found["orderId"].to_string();
    let [trade] = sim.list(TRADES, &[("orderId", &id)]).await.try_into().unwrap();
    for (field, value) in [
        ("id", json!(1)),
        ("orderId", found["orderId"].clone()),
        ("price", json!("90000.00000000")),
        ("qty", json!("0.20000000")),
        ("quoteQty", json!("18000.00000000")),
        ("commission", json!("0.00020000")),
        ("commissionAsset", json!("BTC")),
        ("isBuyer", json!(true)),
        ("isMaker", json!(true)),
    ] {
        assert_eq!(trade[field], value, "{field}");
    }
    let real = sim.admin("GET", "/trades?client_id=f", Value::Null).await;
    assert_eq!(real.as_array().unwrap().len(), 2);
    assert_eq!(real[1]["visible_from_ms"], later);
    assert_eq!(sim.cancel("f").await.refusal(), (400, -2011));
}

#[tokio::test]
async fn an_order_can_be_ended_by_hand() {
    let sim = Sim::start().await;
    for state in ["CANCELED", "REJECTED", "EXPIRED"] {
        sim.placed(&bid(state)).await;
        sim.fill(state, json!({"qty": "0.1"})).await;
        assert_eq!(sim.end(state, state).await["state"], state);
        let found = sim.looked(state).await;
        assert_eq!((&found["status"], &found["executedQty"]), (&json!(state), &json!("0.10000000")));
    }
    assert_eq!(sim.balance("USDT").await.1, "0");
}

#[tokio::test]
async fn a_client_id_is_free_again_when_its_order_is_over() {
    let sim = Sim::start().await;
    sim.settings(json!({"cancel_renames": false})).await;
    let first = sim.placed(&bid("again")).await;
    let refused = sim.place(&bid("again")).await;
    assert_eq!(refused.refusal(), (400, -2010));
    assert_eq!(refused.json()["msg"], "Duplicate order sent.");
    sim.cancel("again").await;
    let second = sim.placed(&bid("again")).await;
    assert_ne!(first["orderId"], second["orderId"]);
    // The newest is found; the older one by its own id only.
    assert_eq!(sim.looked("again").await["orderId"], second["orderId"]);
    let id = first["orderId"].to_string();
    let by_id = [("symbol", "BTCUSDT"), ("orderId", id.as_str()), ("origClientOrderId", "again")];
    assert_eq!(sim.get(ORDER, &by_id).await.json()["status"], "CANCELED");
    let other = with(&by_id, &[("origClientOrderId", "else")]);
    assert_eq!(sim.get(ORDER, &other).await.refusal(), (400, -2013));
    assert_eq!(sim.orders("again").await.len(), 2);
}

#[tokio::test]
async fn a_taker_is_filled_at_once() {
    let sim = Sim::start().await;
    let buy = with(&bid("m"), &[("type", "MARKET"), ("quantity", "0.3"), ("price", ""), ("timeInForce", "")]);
    let taken = sim.placed(&buy).await;
    assert_eq!(taken["status"], "FILLED");
    // 0.2 BTC a level, one basis point apart.
    assert_eq!(taken["cummulativeQuoteQty"], "30004.00000000");
    let fills = taken["fills"].as_array().unwrap();
    let prices: Vec<&str> = fills.iter().map(|fill| fill["price"].as_str().unwrap()).collect();
    assert_eq!(prices, ["100010.00000000", "100020.00000000"]);
    assert_eq!(fills[0]["commission"], "0.00020000");
    assert_eq!(sim.balance("BTC").await, ("10.2997".into(), "0".into()));
    assert_eq!(sim.balance("USDT").await, ("69996".into(), "0".into()));
    let listed = sim.list(TRADES, &[("orderId", &taken["orderId"].to_string())]).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["isMaker"], false);

    let by_quote = with(&buy, &[("newClientOrderId", "q"), ("quantity", ""), ("quoteOrderQty", "1000")]);
    let taken = sim.placed(&by_quote).await;
    assert_eq!((&taken["status"], &taken["executedQty"]), (&json!("FILLED"), &json!("0.00999000")));
    assert_eq!(taken["origQuoteOrderQty"], "1000.00000000");
}

#[tokio::test]
async fn what_is_not_taken_rests_expires_or_kills() {
    let sim = Sim::start().await;
    sim.settings(json!({"balances": {"USDT": "1000000"}})).await;
    // The first level sells 0.2 at 100010.
    for (time_in_force, state, executed) in
        [("GTC", "PARTIALLY_FILLED", "0.20000000"), ("IOC", "EXPIRED", "0.20000000"), ("FOK", "EXPIRED", "0.00000000")]
    {
        let changes = [("timeInForce", time_in_force), ("price", "100010")];
        let placed = sim.placed(&with(&bid(time_in_force), &changes)).await;
        assert_eq!((&placed["status"], &placed["executedQty"]), (&json!(state), &json!(executed)), "{time_in_force}");
    }
    assert_eq!(sim.list(OPEN, &[]).await.len(), 1);
    let maker = [("type", "LIMIT_MAKER"), ("timeInForce", "")];
    let refused = sim.place(&with(&bid("p"), &[&maker[..], &[("price", "100010")]].concat())).await;
    assert_eq!(refused.refusal(), (400, -2010));
    assert_eq!(refused.json()["msg"], "Order would immediately match and take.");
    let placed = sim.placed(&with(&bid("p"), &maker)).await;
    // Anything but MARKET and LIMIT is only acknowledged by default.
    assert!(placed["orderId"].is_i64() && placed["status"].is_null(), "{placed}");
    assert_eq!(sim.looked("p").await["status"], "NEW");
}

#[tokio::test]
async fn lists_go_forward_from_an_id_and_otherwise_give_the_newest() {
    let sim = Sim::start().await;
    for id in ["1", "2", "3", "4"] {
        sim.placed(&with(&bid(id), &[("quantity", "0.1")])).await;
        sim.fill(id, json!({"qty": "0.05"})).await;
        sim.fill(id, json!({"qty": "0.05"})).await;
    }
    let ids = |list: Vec<Value>, name: &str| list.iter().map(|row| row[name].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids(sim.list(ALL, &[("limit", "2")]).await, "orderId"), [3, 4]);
    assert_eq!(ids(sim.list(ALL, &[("limit", "2"), ("orderId", "2")]).await, "orderId"), [2, 3]);
    assert_eq!(ids(sim.list(TRADES, &[("limit", "3")]).await, "id"), [6, 7, 8]);
    assert_eq!(ids(sim.list(TRADES, &[("limit", "3"), ("fromId", "2")]).await, "id"), [2, 3, 4]);
    assert_eq!(ids(sim.list(TRADES, &[("orderId", "2"), ("fromId", "0")]).await, "id"), [3, 4]);
    let soon = (now_ms() + 60_000).to_string();
    assert!(sim.list(TRADES, &[("startTime", &soon)]).await.is_empty());
    let both = [("symbol", "BTCUSDT"), ("orderId", "2"), ("startTime", "1")];
    assert_eq!(sim.get(TRADES, &both).await.refusal(), (400, -1128));
    let long = [("symbol", "BTCUSDT"), ("startTime", "1"), ("endTime", "86400002")];
    assert_eq!(sim.get(ALL, &long).await.refusal(), (400, -1127));
}
