//! "Not sent" takes proof: no connection, turned away at the door, or refused for its age.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::client::{Client, bitcoin, not_sent, now_ms};
use crate::exchange::Exchange;
use crate::wire::{Reply, Wire};

/// Where nobody listens, nothing is sent.
#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    // Bound but not listening: the port refuses, and nobody else can take it meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = Client::of(&format!("http://{}", socket.local_addr().unwrap()));
    let (reason, after) = not_sent(client.submit(bitcoin("nobody")).await);
    assert!(reason.contains("could not connect"), "{reason}");
    assert_eq!(after, None);
}

/// A peer that can't do TLS gets to see nothing of the request.
#[tokio::test]
async fn a_failed_tls_handshake_is_not_sent() {
    let slamming = Wire::slamming().await;
    let client = Client::of(&slamming.url().replace("http:", "https:"));
    let (reason, after) = not_sent(client.submit(bitcoin("no-tls")).await);
    assert!(reason.contains("could not connect"), "{reason}");
    assert_eq!((after, slamming.connections()), (None, 1));
}

/// A rate limit turns the request away and says for how long.
#[tokio::test]
async fn a_rate_limited_request_is_not_sent_and_waits_as_long_as_told() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for (fault, seconds) in [("rate_limited", 0), ("rate_limited", 7), ("banned", 1), ("banned", 86_400)] {
        let client_id = format!("{fault}-{seconds}");
        exchange.fault_on_submit(json!({"fault": fault, "retry_after_s": seconds})).await;
        let (_, after) = not_sent(client.submit(bitcoin(&client_id)).await);
        assert_eq!(after, Some(Duration::from_secs(seconds)), "{fault}");
        exchange.saw_one(&client_id, 0, &client_id).await;
    }
}

/// The venue's own limits mean the same as those that are made up for a test.
#[tokio::test]
async fn the_venues_own_limits_are_not_sent() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    client.submit(bitcoin("first")).await;
    exchange.set(json!({"min_request_interval_ms": 3_600_000})).await;
    let (reason, after) = not_sent(client.submit(bitcoin("too-soon")).await);
    assert!(reason.contains("429"), "{reason}");
    assert_eq!(after, Some(Duration::from_secs(1)));
    exchange.set(json!({"min_request_interval_ms": 0, "banned_until_ms": now_ms() + 3_600_000})).await;
    let (reason, after) = not_sent(client.submit(bitcoin("banned")).await);
    assert!(reason.contains("418"), "{reason}");
    let after = after.unwrap().as_secs();
    assert!((3_500..=3_600).contains(&after), "{after}");
    exchange.saw_one("too-soon", 0, "too soon").await;
    exchange.saw_one("banned", 0, "banned").await;
}

/// A rate limit without a readable time is still a rate limit.
#[tokio::test]
async fn a_retry_after_that_cannot_be_read_is_none() {
    let unreadable =
        ["", "soon", "-5", "1.5", "5 s", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "\u{fc}"];
    for status in [429, 418] {
        for header in [None].into_iter().chain(unreadable.map(Some)) {
            let headers: Vec<(&str, &str)> = header.iter().map(|value| ("retry-after", *value)).collect();
            let wire = Wire::always(Reply::http(status, &headers, r#"{"code":-1003,"msg":"Too many."}"#)).await;
            let (reason, after) = not_sent(Client::of(&wire.url()).submit(bitcoin("limited")).await);
            assert_eq!(after, None, "{header:?}");
            assert!(reason.contains(&status.to_string()), "{reason}");
            wire.only_request();
        }
    }
}

/// The status of a rate limit is enough: what follows it need not be readable, nor arrive.
#[tokio::test]
async fn a_rate_limit_does_not_depend_on_its_body() {
    for status in [429, 418] {
        let head = format!("HTTP/1.1 {status} Words\r\nretry-after: 3\r\ncontent-length: 999\r\n\r\n");
        for reply in [Reply::cut_off(&head), Reply::http(status, &[("retry-after", "3")], "<html>")] {
            let wire = Wire::always(reply).await;
            let (_, after) = not_sent(Client::of(&wire.url()).submit(bitcoin("limited")).await);
            assert_eq!(after, Some(Duration::from_secs(3)));
            wire.only_request();
        }
    }
}

/// A request that the venue finds outside of its window was not taken, and may be signed anew.
#[tokio::test]
async fn a_request_outside_of_its_window_is_not_sent_and_executes_nothing() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for (client_id, signed_at_ms) in [("old", now_ms() - 60_000), ("ahead", now_ms() + 600_000)] {
        let (reason, after) = not_sent(client.submit_signed(bitcoin(client_id), signed_at_ms).await);
        assert!(reason.contains("-1021"), "{reason}");
        assert_eq!(after, None);
        exchange.saw_one(client_id, 0, client_id).await;
    }
    for status in [400, 401] {
        exchange.fault_on_submit(json!({"fault": "reject", "code": -1021, "http_status": status})).await;
        let (reason, _) = not_sent(client.submit(bitcoin("told")).await);
        assert!(reason.contains(&status.to_string()), "{reason}");
    }
    assert_eq!(exchange.executed("told").await, Vec::<Value>::new());
}
