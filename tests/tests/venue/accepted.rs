//! What is sent is exactly what was asked for, signed, once.

use std::time::Duration;

use backstop_activities::venue::{BinanceConfig, SendOutcome, Withdrawal};
use serde_json::json;

use crate::client::{APPLY, BTC_ADDRESS, Client, HISTORY, KEY, XRP_ADDRESS, bitcoin, config, now_ms, rejected};
use crate::exchange::Exchange;
use crate::wire::{Reply, Wire};

/// Characters that a query string gives a meaning to, and some that it can't carry as they are.
const ODD: [&str; 7] = ["a b", "a+b", "a&b=c", "50%25", "#?/:;@", "ü€漢\u{1F4B0}", "\"'<>\\^`{|}~\t"];

/// A withdrawal that the venue takes is done under the venue's id, after one request.
#[tokio::test]
async fn a_withdrawal_that_is_taken_is_done_and_carries_the_venues_id() {
    let exchange = Exchange::start().await;
    let outcome = Client::of(&exchange.url()).submit(bitcoin("taken")).await;
    let executed = exchange.executed("taken").await;
    exchange.saw_one("taken", 1, "taken").await;
    assert_eq!(outcome, SendOutcome::Done(executed[0]["id"].as_str().unwrap().to_owned()));
    let expected = [("coin", "BTC"), ("network", "BTC"), ("address", BTC_ADDRESS), ("amount", "0.5")];
    for (field, value) in expected {
        assert_eq!(executed[0][field], value, "{field}");
    }
}

/// A request carries each parameter as it was given, the given time, the configured window, the key, and nothing else.
#[tokio::test]
async fn every_parameter_arrives_as_it_was_given() {
    for odd in ODD {
        let wire = Wire::always(Reply::json(200, &json!({"id": "w1"}))).await;
        let client =
            Client::with(BinanceConfig { receive_window: Duration::from_millis(4_321), ..config(&wire.url()) });
        let withdrawal = Withdrawal {
            client_id: "order-1",
            asset: "XRP",
            amount: "1.50",
            network: "XRP",
            address: odd,
            tag: Some(odd),
        };
        let outcome = client.submit_signed(withdrawal, 1_234_567_890_123).await;
        assert_eq!(outcome, SendOutcome::Done("w1".into()));
        let request = wire.only_request();
        assert_eq!((request.method.as_str(), request.path.as_str(), request.api_key.as_str()), ("POST", APPLY, KEY));
        let mut sent: Vec<(&str, &str)> = request.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        // Last, because the venue checks it over everything before it.
        let (name, signature) = sent.pop().unwrap();
        assert_eq!((name, signature.len()), ("signature", 64));
        sent.sort_unstable();
        let expected = [
            ("address", odd),
            ("addressTag", odd),
            ("amount", "1.50"),
            ("coin", "XRP"),
            ("network", "XRP"),
            ("recvWindow", "4321"),
            ("timestamp", "1234567890123"),
            ("withdrawOrderId", "order-1"),
        ];
        assert_eq!(sent, expected);
    }
}

/// No tag is not an empty tag, which a venue may refuse or, worse, take.
#[tokio::test]
async fn a_withdrawal_without_a_tag_sends_no_tag() {
    let wire = Wire::always(Reply::json(200, &json!({"id": "w1"}))).await;
    Client::of(&wire.url()).submit(bitcoin("no-tag")).await;
    let request = wire.only_request();
    assert!(request.parameters.iter().all(|(name, _)| name != "addressTag"), "{}", request.query);
}

/// An amount is sent as the text that it is: no digit is lost, added or rounded.
#[tokio::test]
async fn amounts_are_sent_digit_for_digit() {
    for amount in ["0.000000000000000001", "99999999999999999999", "12345678901234567890.123456789012345678", "1.500"] {
        let wire = Wire::always(Reply::json(200, &json!({"id": "w1"}))).await;
        Client::of(&wire.url()).submit(Withdrawal { amount, ..bitcoin("digits") }).await;
        assert_eq!(wire.only_request().parameter("amount"), amount);
    }
}

/// The signature is over what is really on the wire, so the venue finds it right whatever the parameters hold.
#[tokio::test]
async fn the_signature_is_right_whatever_the_parameters_hold() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for odd in ODD {
        let outcome = client.submit(bitcoin(odd)).await;
        assert!(matches!(outcome, SendOutcome::Done(_)), "{odd}: {outcome:?}");
        assert_eq!(exchange.executed(odd).await.len(), 1, "{odd}");
        assert_eq!(client.look_up(odd).await.unwrap().len(), 1, "{odd}");
        // The venue looks at the signature first: a refusal of the address or the tag says that it was right.
        let address = rejected(client.submit(Withdrawal { address: odd, ..bitcoin("address") }).await);
        assert!(address.contains("-4033"), "{odd}: {address}");
        let ripple = Withdrawal { asset: "XRP", network: "XRP", amount: "5", address: XRP_ADDRESS, ..bitcoin("tag") };
        let tag = rejected(client.submit(Withdrawal { tag: Some(odd), ..ripple }).await);
        assert!(tag.contains("-4008"), "{odd}: {tag}");
    }
}

/// A destination tag reaches the venue's record with its leading zeros.
#[tokio::test]
async fn a_tag_reaches_the_venues_record() {
    let exchange = Exchange::start().await;
    let ripple = Withdrawal { asset: "XRP", network: "XRP", amount: "5", address: XRP_ADDRESS, ..bitcoin("tagged") };
    let outcome = Client::of(&exchange.url()).submit(Withdrawal { tag: Some("0012345678"), ..ripple }).await;
    assert!(matches!(outcome, SendOutcome::Done(_)), "{outcome:?}");
    assert_eq!(exchange.executed("tagged").await[0]["tag"], "0012345678");
}

/// No connection is used twice: a request on a kept one may be lost in a way that can't be told from never sent.
#[tokio::test]
async fn every_request_has_a_connection_of_its_own() {
    let wire = Wire::start(|request| match request.path.as_str() {
        HISTORY => Reply::json(200, &json!([])),
        _ => Reply::json(200, &json!({"id": "w1"})),
    })
    .await;
    let client = Client::of(&wire.url());
    let now = now_ms();
    for _ in 0..3 {
        client.submit(bitcoin("again")).await;
        client.look_up_between("again", now - 10 * 24 * 3_600_000, now).await.unwrap();
    }
    let connections: Vec<usize> = wire.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, (1..=9).collect::<Vec<usize>>());
}
