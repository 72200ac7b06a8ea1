//! Who may ask, until when, and how often.

use serde_json::json;

use crate::client::{ACCOUNT, KEY, Params, Sim, encode, now_ms, read, signature, usdt, write};

/// Sends a request as given: key header, query string, body.
async fn raw(sim: &Sim, key: Option<&str>, query: &str, body: &str) -> (u16, i64) {
    let headers = key.map_or(String::new(), |key| format!("x-mbx-apikey: {key}\r\n"));
    let target = format!("{ACCOUNT}?{query}");
    let reply = read(write(sim.api, "GET", &target, &headers, body).await).await;
    let reply = reply.unwrap();
    if reply.status == 200 { (200, 0) } else { reply.refusal() }
}

async fn account(sim: &Sim, params: Params<'_>) -> (u16, i64) {
    let reply = sim.get(ACCOUNT, params).await;
    if reply.status == 200 { (200, 0) } else { reply.refusal() }
}

fn signed(payload: &str) -> String {
    format!("{payload}&signature={}", signature(payload))
}

#[tokio::test]
async fn key_and_signature_are_checked() {
    let sim = Sim::start().await;
    let good = signed(&encode(&[("timestamp", &now_ms().to_string())]));
    assert_eq!(raw(&sim, Some(KEY), &good, "").await, (200, 0));
    assert_eq!(raw(&sim, None, &good, "").await, (400, -2014));
    assert_eq!(raw(&sim, Some("other"), &good, "").await, (401, -2015));
    let changed = format!("{good}&coin=BTC");
    assert_eq!(raw(&sim, Some(KEY), &changed, "").await, (400, -1022));
    let unsigned = encode(&[("timestamp", &now_ms().to_string())]);
    assert_eq!(raw(&sim, Some(KEY), &unsigned, "").await, (400, -1102));
}

#[tokio::test]
async fn the_signature_covers_query_and_body_without_a_separator() {
    let sim = Sim::start().await;
    let query = "recvWindow=10000";
    let body = encode(&[("timestamp", &now_ms().to_string())]);
    let mark = signature(&format!("{query}{body}"));
    let signed = format!("{body}&signature={mark}");
    assert_eq!(raw(&sim, Some(KEY), query, &signed).await, (200, 0));
    let mark = signature(&format!("{query}&{body}"));
    let signed = format!("{body}&signature={mark}");
    assert_eq!(raw(&sim, Some(KEY), query, &signed).await, (400, -1022));
}

#[tokio::test]
async fn the_window_is_checked() {
    let sim = Sim::start().await;
    let none = signed("recvWindow=5000");
    assert_eq!(raw(&sim, Some(KEY), &none, "").await, (400, -1102));
    let at = |shift: i64| (now_ms() + shift).to_string();
    assert_eq!(account(&sim, &[("timestamp", &at(-5_001))]).await, (400, -1021));
    assert_eq!(account(&sim, &[("timestamp", &at(10_000))]).await, (400, -1021));
    assert_eq!(account(&sim, &[("timestamp", "soon")]).await, (400, -1100));
    let wide = [("timestamp", &*at(-30_000)), ("recvWindow", "60000")];
    assert_eq!(account(&sim, &wide).await, (200, 0));
    let too_wide = [("recvWindow", "60001")];
    assert_eq!(account(&sim, &too_wide).await, (400, -1131));
    let twice = [("recvWindow", "1"), ("recvWindow", "2")];
    assert_eq!(account(&sim, &twice).await, (400, -1101));
}

#[tokio::test]
async fn the_servers_clock_decides() {
    let sim = Sim::start().await;
    sim.settings(json!({"clock_offset_ms": 60_000})).await;
    let reply = sim.withdraw("late").await.unwrap();
    assert_eq!(reply.refusal(), (400, -1021));
    let server_now = (now_ms() + 60_000).to_string();
    assert_eq!(account(&sim, &[("timestamp", &server_now)]).await, (200, 0));
    assert!(sim.records("late").await.is_empty());
}

#[tokio::test]
async fn requests_too_close_together_are_turned_away() {
    let sim = Sim::start().await;
    sim.settings(json!({"min_request_interval_ms": 60_000})).await;
    let first = sim.withdraw("one").await.unwrap();
    assert_eq!(first.status, 200);
    let second = sim.withdraw("two").await.unwrap();
    assert_eq!(second.refusal(), (429, -1003));
    assert_eq!(second.header("retry-after"), Some("1"));
    assert!(sim.records("two").await.is_empty());
}

#[tokio::test]
async fn a_ban_ends_by_itself() {
    let sim = Sim::start().await;
    sim.settings(json!({"banned_until_ms": now_ms() + 60_000})).await;
    let banned = sim.try_call("POST", ACCOUNT, &usdt("b")).await.unwrap();
    assert_eq!(banned.refusal(), (418, -1003));
    let wait: u64 = banned.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=60).contains(&wait), "{wait}");
    sim.settings(json!({"banned_until_ms": now_ms() - 1})).await;
    assert_eq!(account(&sim, &[]).await, (200, 0));
}
