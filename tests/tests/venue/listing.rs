//! The account's whole history, whoever made it: every row of every page and span, or an error.

use std::{collections::BTreeSet, time::Duration};

use backstop_activities::venue::{DepositRecord, DepositState, LookupFailed};
use serde_json::{Value, json};

use crate::client::{BTC_ADDRESS, Client, DAY_MS, DEPOSITS, HISTORY, bitcoin, now_ms};
use crate::exchange::Exchange;
use crate::wire::{Reply, Request, Wire};

/// The most rows of one page.
const PAGE: usize = 1_000;
const LONGEST_MS: i64 = 90 * DAY_MS;

fn withdrawal(id: usize) -> Value {
    json!({"id": format!("w{id}"), "amount": "1", "transactionFee": "0.1", "status": 6})
}

fn deposit(id: usize) -> Value {
    json!({
        "id": format!("d{id}"), "amount": "1", "coin": "BTC", "network": "BTC", "status": 1, "address": "a",
        "insertTime": 1_700_000_000_000_i64,
    })
}

fn page(rows: impl Iterator<Item = usize>, row: fn(usize) -> Value) -> Reply {
    Reply::json(200, &rows.map(row).collect())
}

fn offset(request: &Request) -> usize {
    request.parameter("offset").parse().unwrap()
}

/// Both listings, as the ids of their rows.
async fn both(client: &Client, from_ms: i64, until_ms: i64) -> [Result<Vec<String>, LookupFailed>; 2] {
    let withdrawals = client.history(from_ms, until_ms).await;
    let deposits = client.deposits(from_ms, until_ms).await;
    [
        withdrawals.map(|found| found.into_iter().map(|record| record.id).collect()),
        deposits.map(|found| found.into_iter().map(|record| record.id).collect()),
    ]
}

/// The listing of a venue that has these many rows, newest first, some of them new since the first page was read.
async fn venue_with(rows: usize, new_each_page: usize) -> Wire {
    Wire::start(move |request| {
        assert_eq!(request.parameter("limit"), "1000");
        let (from, row) = (offset(request), if request.path == DEPOSITS { deposit } else { withdrawal });
        // What is new comes first, and moves what was there.
        let new = if from == 0 { 0 } else { new_each_page };
        page((0..new).chain(1_000_000..1_000_000 + rows).skip(from).take(PAGE), row)
    })
    .await
}

/// More rows than a page holds are all found, each once, by any program's client id and by none.
#[tokio::test]
async fn every_withdrawal_of_every_page_is_found() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let now = now_ms();
    let mut made = BTreeSet::new();
    for n in 0..2 * PAGE + 50 {
        let client_id = (n % 3 == 0).then(|| format!("c{n}"));
        // Many share a millisecond.
        let at = now - i64::try_from(n).unwrap() / 7;
        let record = json!({"coin": "BTC", "amount": "1", "executed_at_ms": at, "client_id": client_id});
        made.insert((exchange.insert(record).await, client_id));
    }
    let found = client.history(now - DAY_MS, now).await.unwrap();
    assert_eq!(found.len(), made.len());
    let found: BTreeSet<_> = found.into_iter().map(|record| (record.id, record.client_id)).collect();
    assert_eq!(found, made);
    assert_eq!(exchange.asked(HISTORY).await, 3);
}

#[tokio::test]
async fn every_deposit_of_every_page_is_found() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let now = now_ms();
    let mut made = BTreeSet::new();
    for n in 0..PAGE + 50 {
        let at = now - i64::try_from(n).unwrap() / 7;
        let tx_id = format!("t{n}");
        let came = json!({"coin": "BTC", "amount": "1", "address": "a", "tx_id": tx_id, "insert_time_ms": at});
        made.insert((exchange.deposit(came).await["id"].as_str().unwrap().to_owned(), Some(tx_id), at));
    }
    let found = client.deposits(now - DAY_MS, now).await.unwrap();
    assert_eq!(found.len(), made.len());
    let found: BTreeSet<_> = found.into_iter().map(|found| (found.id, found.tx_id, found.inserted_at_ms)).collect();
    assert_eq!(found, made);
    assert_eq!(exchange.asked(DEPOSITS).await, 2);
}

/// A withdrawal of ours carries its client id among those of others.
#[tokio::test]
async fn our_withdrawals_are_known_by_their_client_ids() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    client.submit(bitcoin("ours")).await;
    exchange.insert(json!({"coin": "ETH", "amount": "2"})).await;
    let found = client.history(now_ms() - DAY_MS, now_ms() + 1_000).await.unwrap();
    let mut client_ids: Vec<Option<&str>> = found.iter().map(|record| record.client_id.as_deref()).collect();
    client_ids.sort_unstable();
    assert_eq!(client_ids, [None, Some("ours")]);
}

/// Each field and each status of a deposit arrives as the venue's pages say.
#[tokio::test]
async fn a_deposit_is_read_as_it_came() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let now = now_ms();
    let states = [
        (0, DepositState::Pending),
        (1, DepositState::Final),
        (2, DepositState::Rejected),
        (6, DepositState::Locked),
        (7, DepositState::Rejected),
        (8, DepositState::Pending),
    ];
    for (n, (status, state)) in (1..).zip(states) {
        let (at, tag) = (now - DAY_MS * n, (n % 2 == 0).then(|| "7".to_owned()));
        let came = json!({
            "id": status.to_string(), "coin": "BTC", "network": "BTC", "amount": "0.123456789", "address": BTC_ADDRESS,
            "tag": tag, "tx_id": "0xab", "status": status, "insert_time_ms": at,
        });
        exchange.deposit(came).await;
        let expected = DepositRecord {
            id: status.to_string(),
            asset: "BTC".into(),
            network: "BTC".into(),
            amount: "0.123456789".into(),
            address: BTC_ADDRESS.into(),
            tag,
            tx_id: Some("0xab".into()),
            state,
            inserted_at_ms: at,
        };
        assert_eq!(client.deposits(at, at).await, Ok(vec![expected]));
    }
}

/// The fields of a row, broken in every way that there is.
fn broken() -> impl Iterator<Item = (&'static str, Value)> {
    let broken = [("status", json!(5)), ("status", json!(99)), ("amount", json!("much")), ("amount", json!(1))];
    broken.into_iter().chain(["id", "amount", "status"].map(|field| (field, Value::Null)))
}

/// A withdrawal that can't be read could be any: nobody can be said to have none, and the listing fails.
#[tokio::test]
async fn an_unreadable_withdrawal_fails_the_listing() {
    for (field, value) in broken() {
        let mut row = withdrawal(1);
        // That one a withdrawal has.
        row[field] = if value == 5 { json!(7) } else { value.clone() };
        let wire = Wire::always(Reply::json(200, &json!([withdrawal(2), row]))).await;
        assert!(Client::of(&wire.url()).history(0, 1).await.is_err(), "{field} {value}");
    }
}

/// A deposit that can't be read is told as such, and keeps no other from being read.
#[tokio::test]
async fn an_unreadable_deposit_is_told_and_fails_no_other() {
    let more =
        [("coin", Value::Null), ("insertTime", json!("today")), ("id", json!("")), ("addressTag", json!("a\0b"))];
    for (field, value) in broken().chain(more) {
        let mut row = deposit(1);
        row[field] = value.clone();
        let page = json!([deposit(2), row, deposit(3)]);
        let wire = Wire::always(Reply::json(200, &page)).await;
        let listing = Client::of(&wire.url()).listed_deposits(0, 1).await.unwrap();
        let context = format!("{field} {value}");
        let read: Vec<&str> = listing.records.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(read, ["d2", "d3"], "{context}");
        let [unreadable] = listing.unreadable.as_slice() else { panic!("{context}: {listing:?}") };
        assert_eq!(serde_json::from_str::<Value>(&unreadable.row).unwrap(), page[1], "{context}");
        assert_eq!(unreadable.inserted_at_ms, page[1]["insertTime"].as_i64(), "{context}");
        assert_eq!(unreadable.id == "d1", field != "id", "{context}");
        assert!(!unreadable.id.is_empty() && !unreadable.why.is_empty(), "{context}");
    }
}

/// Rows without an id of their own are told apart by what they say, also where pages overlap.
#[tokio::test]
async fn rows_that_are_no_deposits_at_all_are_each_told_once() {
    let wire = Wire::start(|request| {
        let rows = (0..PAGE + 5).map(|n| json!({"odd": n})).skip(offset(request)).take(PAGE);
        Reply::json(200, &rows.collect())
    })
    .await;
    let listing = Client::of(&wire.url()).listed_deposits(0, 1).await.unwrap();
    assert_eq!((listing.records.len(), listing.unreadable.len()), (0, PAGE + 5));
    let names: BTreeSet<&String> = listing.unreadable.iter().map(|row| &row.id).collect();
    assert_eq!(names.len(), PAGE + 5);
    let failed = Client::of(&Wire::always(Reply::json(200, &json!({"no": "list"}))).await.url()).deposits(0, 1).await;
    assert!(failed.is_err());
}

/// Pages overlap by one row, and end with the first that is not full.
#[tokio::test]
async fn pages_are_read_until_one_is_not_full() {
    for (rows, pages) in [(0, 1), (1, 1), (PAGE - 1, 1), (PAGE, 2), (PAGE + 1, 2), (2 * PAGE - 2, 2), (2 * PAGE - 1, 3)]
    {
        let wire = venue_with(rows, 0).await;
        for found in both(&Client::of(&wire.url()), 0, 1).await {
            let found: BTreeSet<String> = found.unwrap().into_iter().collect();
            assert_eq!(found.len(), rows);
        }
        let offsets: Vec<usize> = wire.requests().iter().map(offset).collect();
        let expected: Vec<usize> = (0..pages).map(|page| page * (PAGE - 1)).collect();
        assert_eq!(offsets, expected.repeat(2), "{rows} rows");
    }
}

/// Rows that turn up while pages are read move others, and hide none of those that were there.
#[tokio::test]
async fn new_rows_between_pages_hide_none() {
    for new in [1, 7, PAGE - 1] {
        let wire = venue_with(3 * PAGE, new).await;
        for found in both(&Client::of(&wire.url()), 0, 1).await {
            let found = found.unwrap();
            let ids: BTreeSet<&String> = found.iter().collect();
            assert_eq!(ids.len(), found.len(), "a row is told twice");
            let first = found[0].get(..1).unwrap();
            assert!((1_000_000..1_000_000 + 3 * PAGE).all(|id| ids.contains(&format!("{first}{id}"))), "{new}");
        }
    }
}

/// A row that is seen again is told as it stands by now.
#[tokio::test]
async fn a_row_that_is_seen_again_is_told_as_it_is_by_now() {
    let wire = Wire::start(|request| {
        let rows = (0..PAGE + 3).map(withdrawal).skip(offset(request)).take(PAGE);
        let rows = rows.map(|mut row| {
            row["status"] = json!(if offset(request) == 0 { 4 } else { 6 });
            row
        });
        Reply::json(200, &rows.collect())
    })
    .await;
    let found = Client::of(&wire.url()).history(0, 1).await.unwrap();
    let state = |id: &str| found.iter().find(|record| record.id == id).map(|record| format!("{:?}", record.state));
    assert_eq!((state("w998"), state("w999")), (Some("Pending".into()), Some("Completed".into())));
}

/// Rows that have gone, or changed places, leave a gap that nobody has seen: the listing fails.
#[tokio::test]
async fn a_gap_between_pages_fails_the_listing() {
    for missing in [1, 10, 10_000] {
        let wire = Wire::start(move |request| {
            let row = if request.path == DEPOSITS { deposit } else { withdrawal };
            let gone = if offset(request) == 0 { 0 } else { missing };
            page((gone..2 * PAGE).skip(offset(request)).take(PAGE), row)
        })
        .await;
        for found in both(&Client::of(&wire.url()), 0, 1).await {
            assert!(found.unwrap_err().reason.contains("does not go on"));
        }
    }
}

/// A venue that never stops is not read for ever.
#[tokio::test]
async fn a_listing_without_end_fails() {
    let wire = venue_with(usize::MAX / 2, 0).await;
    let failed = Client::of(&wire.url()).history(0, 1).await.unwrap_err();
    assert!(failed.reason.contains("more than 50 pages"), "{failed}");
    assert_eq!(wire.requests().len(), 50);
}

/// Spans are shorter than 90 days and adjoin without gap or overlap.
#[tokio::test]
async fn spans_of_less_than_ninety_days_cover_the_whole_time() {
    let until = 1_700_000_000_000;
    for (length, spans) in [(1, 1), (LONGEST_MS, 1), (LONGEST_MS + 1, 2), (2 * LONGEST_MS, 2), (365 * DAY_MS, 5)] {
        let wire = Wire::always(Reply::json(200, &json!([]))).await;
        let from = until - length + 1;
        assert_eq!(both(&Client::of(&wire.url()), from, until).await, [Ok(vec![]), Ok(vec![])]);
        let requests = wire.requests();
        assert_eq!(requests.len(), 2 * spans, "{length} ms");
        for (requests, path) in requests.chunks(spans).zip([HISTORY, DEPOSITS]) {
            let mut next = from;
            for request in requests {
                let (start, end) = (request.number("startTime"), request.number("endTime"));
                assert_eq!((request.method.as_str(), request.path.as_str(), start), ("GET", path, next));
                assert!(start <= end && end - start < LONGEST_MS, "{length} ms: {start} to {end}");
                assert!(
                    request.parameters.iter().all(|(name, _)| !["withdrawOrderId", "status"].contains(&name.as_str()))
                );
                next = end + 1;
            }
            assert_eq!(next, until + 1, "{length} ms");
        }
    }
    let none = Client::of("http://127.0.0.1:1").history(2, 1).await.unwrap_err();
    assert_eq!(none.reason, "no time to look at");
}

/// Records at the seams of the spans are found, each once.
#[tokio::test]
async fn records_at_the_seams_are_found_once() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let until = now_ms();
    let from = until - 200 * DAY_MS;
    let mut made = BTreeSet::new();
    for seam in [from, from + LONGEST_MS, from + 2 * LONGEST_MS, until + 1] {
        for at in [seam - 1, seam] {
            let id = exchange.insert(json!({"coin": "BTC", "amount": "1", "executed_at_ms": at})).await;
            let came =
                json!({"id": id, "coin": "BTC", "amount": "1", "address": "a", "tx_id": "t", "insert_time_ms": at});
            exchange.deposit(came).await;
            if (from..=until).contains(&at) {
                made.insert(id);
            }
        }
    }
    for found in both(&client, from, until).await {
        let found = found.unwrap();
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (6, made.clone()));
    }
}

/// One page that is not answered fails the listing, and says how long to wait.
#[tokio::test]
async fn one_failing_page_fails_the_listing() {
    for failing in 0..3 {
        let wire = Wire::start(move |request| {
            let from = offset(request);
            let row = if request.path == DEPOSITS { deposit } else { withdrawal };
            if from / (PAGE - 1) == failing {
                return Reply::http(429, &[("retry-after", "11")], "");
            }
            page((0..3 * PAGE).skip(from).take(PAGE), row)
        })
        .await;
        for found in both(&Client::of(&wire.url()), 0, 1).await {
            assert_eq!(found.unwrap_err().after, Some(Duration::from_secs(11)));
        }
        assert_eq!(wire.requests().len(), 2 * (failing + 1));
    }
}
