//! Endpoints that only tell, and the headers of all.

use serde_json::{Value, json};

use crate::client::{ACCOUNT, ETH_ADDRESS, HISTORY, Sim, now_ms, read, write};

const COINS: &str = "/sapi/v1/capital/config/getall";
const DEPOSITS: &str = "/sapi/v1/capital/deposit/hisrec";

#[tokio::test]
async fn ping_and_time_ask_for_nothing() {
    let sim = Sim::start().await;
    let ping = read(write(sim.api, "GET", "/api/v3/ping", "", "").await).await;
    assert_eq!(ping.unwrap().json(), json!({}));
    sim.settings(json!({"clock_offset_ms": 3_600_000})).await;
    let time = read(write(sim.api, "GET", "/api/v3/time", "", "").await).await;
    let ahead = time.unwrap().json()["serverTime"].as_i64().unwrap() - now_ms();
    assert!((3_590_000..=3_600_000).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn unknown_paths_are_answered_with_a_page() {
    let sim = Sim::start().await;
    for (method, path) in [("GET", "/api/v3/nothing"), ("DELETE", ACCOUNT)] {
        let reply = sim.try_call(method, path, &[]).await.unwrap();
        assert_eq!(reply.status, 404);
        assert!(reply.body.starts_with("<html>"));
        assert!(reply.header("x-mbx-used-weight-1m").is_some());
    }
}

#[tokio::test]
async fn answers_carry_weights() {
    let sim = Sim::start().await;
    let weight = |text: Option<&str>| text.unwrap().parse::<u64>().unwrap();
    let account = sim.get(ACCOUNT, &[]).await;
    assert!(weight(account.header("x-mbx-used-weight-1m")) >= 20);
    assert!(account.header("x-sapi-used-uid-weight-1m").is_none());
    let history = sim.get(HISTORY, &[]).await;
    assert!(weight(history.header("x-sapi-used-uid-weight-1m")) >= 18_000);
}

#[tokio::test]
async fn account_shows_balances_as_strings() {
    let sim = Sim::start().await;
    sim.settings(json!({"balances": {"BTC": "1.25"}})).await;
    assert_eq!(sim.free("BTC").await, "1.25000000");
    assert_eq!(sim.free("USDT").await, "100000.00000000");
    let account = sim.get(ACCOUNT, &[]).await.json();
    assert_eq!(account["canWithdraw"], true);
    assert_eq!(account["balances"][0]["locked"], "0.00000000");
}

#[tokio::test]
async fn coins_show_their_networks() {
    let sim = Sim::start().await;
    sim.settings(json!({"withdraw_disabled": ["USDT/TRX"]})).await;
    let coins = sim.get(COINS, &[]).await.json();
    let coin = |name: &str| {
        let coins = coins.as_array().unwrap();
        coins.iter().find(|coin| coin["coin"] == name).cloned()
    };
    let usdt = coin("USDT").unwrap();
    let [ethereum, tron] = usdt["networkList"].as_array().unwrap().as_slice() else {
        panic!("{usdt}");
    };
    assert_eq!(ethereum["isDefault"], true);
    assert_eq!(ethereum["withdrawEnable"], true);
    assert_eq!(ethereum["withdrawFee"], "2.5");
    assert_eq!(ethereum["withdrawIntegerMultiple"], "0.000001");
    assert_eq!(tron["network"], "TRX");
    assert_eq!(tron["withdrawEnable"], false);
    let ripple = &coin("XRP").unwrap()["networkList"][0];
    assert_eq!(ripple["memoRegex"], "^[0-9]{1,10}$");
}

#[tokio::test]
async fn deposits_raise_the_balance_once_credited() {
    let sim = Sim::start().await;
    sim.settings(json!({"balances": {"ETH": "1"}})).await;
    let mut deposit = json!({
        "id": "d1", "coin": "ETH", "network": "ETH", "amount": "2.5",
        "address": ETH_ADDRESS, "tx_id": "0xabc", "status": 0,
    });
    sim.admin("POST", "/deposits", deposit.clone()).await;
    assert_eq!(sim.free("ETH").await, "1.00000000");
    let pending = sim.get(DEPOSITS, &[("status", "0")]).await.json();
    assert_eq!(pending[0]["confirmTimes"], "0/6");

    deposit["status"] = json!(1);
    sim.admin("POST", "/deposits", deposit).await;
    assert_eq!(sim.free("ETH").await, "3.50000000");
    let found = sim.get(DEPOSITS, &[("txId", "0xabc")]).await.json();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["id"], "d1");
    assert_eq!(found[0]["amount"], "2.5");
    assert_eq!(found[0]["status"], 1);
    assert_eq!(found[0]["unlockConfirm"], 6);
    for (name, value) in [("status", "6"), ("coin", "BTC"), ("txId", "0x")] {
        let none = sim.get(DEPOSITS, &[(name, value)]).await.json();
        assert_eq!(none, json!([]), "{name}");
    }
    let listed = sim.admin("GET", "/deposits?coin=ETH", Value::Null).await;
    assert_eq!(listed[0]["tx_id"], "0xabc");
}
