//! A lookup covers its whole time in spans that the venue answers, and never trusts the venue's default of some days.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, DAY_MS, HISTORY, KEY, now_ms};
use crate::exchange::Exchange;
use crate::wire::{Reply, Wire};

const WEEK_MS: i64 = 7 * DAY_MS;

/// Spans are shorter than 7 days and adjoin without gap or overlap, from the first millisecond asked for to the last.
#[tokio::test]
async fn spans_cover_the_whole_time_without_gap_or_overlap() {
    let until = 1_700_000_000_000;
    let lengths = [
        (1, 1),
        (2, 1),
        (DAY_MS, 1),
        (WEEK_MS - 1, 1),
        (WEEK_MS, 1),
        (WEEK_MS + 1, 2),
        (2 * WEEK_MS, 2),
        (2 * WEEK_MS + 1, 3),
        (20 * DAY_MS + 1, 3),
        (90 * DAY_MS, 13),
    ];
    for (length, spans) in lengths {
        let wire = Wire::always(Reply::json(200, &json!([]))).await;
        let from = until - length + 1;
        assert_eq!(Client::of(&wire.url()).look_up_between("spans", from, until).await, Ok(Vec::new()));
        let requests = wire.requests();
        assert_eq!(requests.len(), spans, "{length} ms");
        let mut next = from;
        for request in requests {
            // A request without either time would be answered for the venue's default; `number` wants each, once.
            let (start, end) = (request.number("startTime"), request.number("endTime"));
            assert_eq!(start, next, "{length} ms");
            assert!(start <= end && end - start < WEEK_MS, "{length} ms: {start} to {end}");
            assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", HISTORY));
            assert_eq!((request.parameter("withdrawOrderId"), request.api_key.as_str()), ("spans", KEY));
            assert_eq!(request.number("recvWindow"), 5_000);
            assert!(request.parameters.iter().all(|(name, _)| !["offset", "limit", "status"].contains(&name.as_str())));
            next = end + 1;
        }
        assert_eq!(next, until + 1, "{length} ms");
    }
}

/// A withdrawal of weeks ago is found when the time asked for covers it, and only then.
#[tokio::test]
async fn a_record_of_weeks_ago_is_found() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let (now, made) = (now_ms(), now_ms() - 20 * DAY_MS);
    let id = exchange.insert(json!({"coin": "BTC", "amount": "1", "client_id": "old", "executed_at_ms": made})).await;
    let found = client.look_up_between("old", made - 1_000, now).await.unwrap();
    let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, [id.as_str()]);
    assert_eq!(exchange.received("old").await.len(), 3);
    assert_eq!(client.look_up_between("old", made + 1, now).await, Ok(Vec::new()));
    assert_eq!(client.look_up_between("old", made - DAY_MS, made - 1).await, Ok(Vec::new()));
}

/// Records at the seams of the spans are found, each once.
#[tokio::test]
async fn records_at_the_seams_are_found_once() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let until = now_ms();
    let from = until - 20 * DAY_MS;
    let mut made = Vec::new();
    for seam in [from, from + WEEK_MS, from + 2 * WEEK_MS, until + 1] {
        for at in [seam - 1, seam] {
            let record = json!({"coin": "BTC", "amount": "1", "client_id": "seams", "executed_at_ms": at});
            let id = exchange.insert(record).await;
            if (from..=until).contains(&at) {
                made.push(id);
            }
        }
    }
    let found = client.look_up_between("seams", from, until).await.unwrap();
    let mut found: Vec<String> = found.into_iter().map(|record| record.id).collect();
    found.sort();
    made.sort();
    assert_eq!((found.len(), found), (6, made));
}

/// One span that is not answered fails the lookup, whatever the others have shown.
#[tokio::test]
async fn one_failing_span_fails_the_lookup() {
    let until = now_ms();
    let from = until - 20 * DAY_MS;
    for failing in 0..3 {
        let wire = Wire::start(move |request| {
            let span = (request.number("startTime") - from) / WEEK_MS;
            if span == failing { Reply::http(429, &[("retry-after", "11")], "") } else { found_in_span(span) }
        })
        .await;
        let failed = Client::of(&wire.url()).look_up_between("spans", from, until).await.unwrap_err();
        assert_eq!(failed.after, Some(Duration::from_secs(11)));
        assert_eq!(wire.requests().len(), usize::try_from(failing).unwrap() + 1);
    }
    let wire = Wire::start(move |request| found_in_span((request.number("startTime") - from) / WEEK_MS)).await;
    let found = Client::of(&wire.url()).look_up_between("spans", from, until).await.unwrap();
    let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["w0", "w1", "w2"]);
}

fn found_in_span(span: i64) -> Reply {
    let id = format!("w{span}");
    let row = json!({"id": id, "amount": "1", "transactionFee": "0.1", "status": 6, "withdrawOrderId": "spans"});
    Reply::json(200, &json!([row]))
}
