//! A lookup gives the venue's complete record in the venue's own words, or fails; it is never empty by mistake.

use std::time::Duration;

use backstop_activities::venue::{LookupFailed, RecordState, WithdrawalRecord};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::client::{Client, HISTORY, bitcoin};
use crate::exchange::Exchange;
use crate::wire::{Reply, Wire};

fn row(client_id: &str, id: usize) -> Value {
    json!({
        "id": id.to_string(), "amount": "0.4995", "transactionFee": "0.0005", "coin": "BTC", "status": 6,
        "withdrawOrderId": client_id, "txId": "ab12", "info": "",
    })
}

fn row_with(field: &str, value: Value) -> Value {
    let mut row = row("ours", 1);
    row[field] = value;
    row
}

async fn read(rows: Value) -> Result<Vec<WithdrawalRecord>, LookupFailed> {
    let wire = Wire::always(Reply::json(200, &rows)).await;
    let found = Client::of(&wire.url()).look_up("ours").await;
    wire.only_request();
    found
}

#[track_caller]
fn failed(found: Result<Vec<WithdrawalRecord>, LookupFailed>, context: &str) -> LookupFailed {
    let Err(failed) = found else { panic!("{context}: read as {found:?}") };
    failed
}

/// A withdrawal that was made is found with its amounts and its transaction once it is paid.
#[tokio::test]
async fn a_withdrawal_that_was_made_is_found() {
    let exchange = Exchange::start().await;
    exchange.set(json!({"complete_after_ms": 0, "processing_after_ms": 0})).await;
    let client = Client::of(&exchange.url());
    assert_eq!(client.look_up("made").await, Ok(Vec::new()));
    client.submit(bitcoin("made")).await;
    client.submit(bitcoin("another")).await;
    let executed = exchange.executed("made").await;
    let found = client.look_up("made").await.unwrap();
    let record = WithdrawalRecord {
        id: executed[0]["id"].as_str().unwrap().to_owned(),
        client_id: Some("made".into()),
        state: RecordState::Completed,
        received: "0.4995".into(),
        network_fee: "0.0005".into(),
        tx_id: Some(executed[0]["tx_id"].as_str().unwrap().to_owned()),
        info: String::new(),
        completed_at: found[0].completed_at.clone(),
    };
    assert_eq!(record.completed_at.as_deref().map(str::len), Some("2026-01-01 00:00:00".len()));
    assert_eq!(found, [record]);
}

/// Each status number of the venue means what its pages say.
#[tokio::test]
async fn every_status_number_has_its_state() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let named = [
        (0, "email_sent", RecordState::Pending),
        (1, "cancelled", RecordState::Failed),
        (2, "awaiting_approval", RecordState::Pending),
        (3, "rejected", RecordState::Failed),
        (4, "processing", RecordState::Pending),
        (5, "failed", RecordState::Failed),
        (6, "completed", RecordState::Completed),
    ];
    for (number, name, state) in named {
        let made = json!({"coin": "BTC", "amount": "1", "client_id": name, "state": name, "info": "the reason"});
        let id = exchange.insert(made).await;
        let found = client.look_up(name).await.unwrap();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!((&found[0].id, found[0].state), (&id, state), "{name}");
        assert_eq!(found[0].info, "the reason");
        assert_eq!(found[0].tx_id.is_some(), state == RecordState::Completed, "{name}");
        let found = read(json!([row_with("status", json!(number))])).await.unwrap();
        assert_eq!(found[0].state, state, "{number}");
    }
}

/// A status that is not known is no state: it could mean paid.
#[tokio::test]
async fn an_unknown_status_fails_the_lookup() {
    for status in [json!(7), json!(8), json!(9), json!(255), json!(262), json!(-1), json!("6"), json!(6.5), Value::Null]
    {
        let rows = json!([row("ours", 0), row_with("status", status.clone())]);
        failed(read(rows).await, &status.to_string());
    }
}

/// Amounts are handed on as the text they came as, with every digit.
#[tokio::test]
async fn amounts_arrive_digit_for_digit() {
    for amount in ["0.000000000000000001", "99999999999999999999", "1234567890.123456789012345678", "0.50", "0", "7"] {
        for (field, other) in [("amount", "0.0005"), ("transactionFee", "0.4995")] {
            let found = read(json!([row_with(field, json!(amount))])).await.unwrap();
            let (received, fee) = (found[0].received.as_str(), found[0].network_fee.as_str());
            let expected = if field == "amount" { (amount, other) } else { (other, amount) };
            assert_eq!((received, fee), expected);
        }
    }
}

/// An amount that is not a decimal in a string fails the lookup: a number of JSON may have lost digits already.
#[tokio::test]
async fn an_unreadable_amount_fails_the_lookup() {
    let unreadable =
        ["", " ", "much", "NaN", "1e5", "1,5", "0x10", "1.2.3", "9999999999999999999999999999999999999999"];
    let values = unreadable.iter().map(|text| json!(text)).chain([json!(1), json!(0.5), Value::Null, json!([])]);
    for value in values {
        for field in ["amount", "transactionFee"] {
            let rows = json!([row("ours", 0), row_with(field, value.clone())]);
            failed(read(rows).await, &format!("{field} {value}"));
        }
    }
}

/// A row that lacks what must be known fails the lookup.
#[tokio::test]
async fn an_incomplete_row_fails_the_lookup() {
    for field in ["id", "amount", "transactionFee", "status"] {
        let mut incomplete = row("ours", 1);
        incomplete.as_object_mut().unwrap().remove(field);
        failed(read(json!([row("ours", 0), incomplete])).await, field);
    }
}

/// What is not there yet is left out: no transaction and no remark is not an error.
#[tokio::test]
async fn a_row_without_transaction_and_remark_is_read() {
    let mut bare = row("ours", 1);
    for field in ["txId", "info"] {
        bare.as_object_mut().unwrap().remove(field);
    }
    for row in [bare, row_with("txId", json!("")), row_with("txId", Value::Null)] {
        let found = read(json!([row])).await.unwrap();
        assert_eq!((&found[0].tx_id, found[0].info.as_str()), (&None, ""));
    }
}

/// Rows of others are dropped even when the server sends them: their money is not ours.
#[tokio::test]
async fn rows_of_other_client_ids_are_dropped() {
    let mut nobodys = row("ours", 4);
    nobodys.as_object_mut().unwrap().remove("withdrawOrderId");
    let mut unnamed = row("ours", 5);
    unnamed["withdrawOrderId"] = Value::Null;
    let rows =
        json!([row("theirs", 1), row("ours", 2), row("OURS", 3), nobodys, unnamed, row("ours ", 6), row("ours", 7)]);
    let found = read(rows).await.unwrap();
    let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["2", "7"]);
    assert_eq!(read(json!([row("theirs", 1)])).await, Ok(Vec::new()));
}

/// A full page may not be all there is, whoever the rows belong to.
#[tokio::test]
async fn a_full_page_fails_the_lookup() {
    let page = |client_id: &str, rows: usize| (0..rows).map(|id| row(client_id, id)).collect::<Value>();
    assert_eq!(read(page("ours", 999)).await.unwrap().len(), 999);
    for client_id in ["ours", "theirs"] {
        failed(read(page(client_id, 1_000)).await, client_id);
        failed(read(page(client_id, 1_001)).await, client_id);
    }
}

/// An answer that is no history fails the lookup, whatever its status.
#[tokio::test]
async fn an_answer_that_is_no_history_fails_the_lookup() {
    let bodies = ["", "null", "{}", "{\"rows\":[]}", "0", "<html>", "[", "[]]", "[null]", "[[]]"];
    for body in bodies {
        let wire = Wire::always(Reply::http(200, &[], body)).await;
        failed(Client::of(&wire.url()).look_up("ours").await, body);
    }
    for status in [201, 204, 206, 301, 302, 307, 400, 401, 403, 404, 500, 502, 503, 504] {
        let body = if status == 204 { "" } else { "[]" };
        let wire = Wire::always(Reply::http(status, &[("location", HISTORY)], body)).await;
        let failed = failed(Client::of(&wire.url()).look_up("ours").await, body);
        assert!(failed.reason.contains(&status.to_string()), "{failed}");
        wire.only_request();
    }
}

/// What goes wrong at the venue fails the lookup, though the record is there.
#[tokio::test]
async fn a_failing_venue_fails_the_lookup() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    client.submit(bitcoin("there")).await;
    let faults = [
        json!({"fault": "status", "status": 500}),
        json!({"fault": "status", "status": 503, "body": "<html>", "execute": true}),
        json!({"fault": "garbage"}),
        json!({"fault": "garbage", "execute": true}),
        json!({"fault": "drop"}),
        json!({"fault": "lose_answer"}),
        json!({"fault": "reject", "code": -1021}),
        json!({"fault": "reject", "code": -4026}),
    ];
    for fault in faults {
        exchange.fault_on_lookup(fault.clone()).await;
        let failed = failed(client.look_up("there").await, &fault.to_string());
        assert_eq!(failed.after, None);
    }
    exchange.fault_on_lookup(json!({"fault": "delay_answer", "ms": 3_600_000})).await;
    failed(Client::hasty(&exchange.url()).look_up("there").await, "late");
    assert_eq!(client.look_up("there").await.unwrap().len(), 1);
}

/// A rate limit fails the lookup and says for how long to wait.
#[tokio::test]
async fn a_rate_limited_lookup_says_how_long_to_wait() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for (fault, seconds) in [("rate_limited", 0), ("rate_limited", 9), ("banned", 120)] {
        exchange.fault_on_lookup(json!({"fault": fault, "retry_after_s": seconds})).await;
        let failed = failed(client.look_up("limited").await, fault);
        assert_eq!(failed.after, Some(Duration::from_secs(seconds)));
    }
}

/// A connection that can't be made, or that is lost on the way, fails the lookup.
#[tokio::test]
async fn a_connection_that_fails_fails_the_lookup() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = format!("http://{}", socket.local_addr().unwrap());
    failed(Client::of(&nobody).look_up("ours").await, "refused");
    let slamming = Wire::slamming().await;
    failed(Client::of(&slamming.url()).look_up("ours").await, "slammed");
    for partial in
        ["", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n[]", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"]
    {
        let cut_off = Wire::always(Reply::cut_off(partial)).await;
        failed(Client::of(&cut_off.url()).look_up("ours").await, partial);
        let stalled = Wire::always(Reply::stalled(partial)).await;
        failed(Client::hasty(&stalled.url()).look_up("ours").await, partial);
    }
}
