//! The receive window is what ends an unknown outcome: past it, a request that is still on its way does nothing.

use std::time::Duration;

use backstop_activities::venue::{BinanceConfig, SendOutcome};
use serde_json::json;

use crate::client::{Client, bitcoin, config, not_sent, now_ms, unknown};
use crate::exchange::Exchange;

/// A request that the venue holds past its window is refused at the end, and the client says so.
#[tokio::test]
async fn a_request_held_past_its_window_is_not_sent_and_executes_nothing() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    let rule = exchange.fault_on_submit(json!({"fault": "hold"})).await;
    let let_go = async {
        exchange.holds_one().await;
        exchange.shift_clock(5_001).await;
        exchange.release(&rule).await;
    };
    let (outcome, ()) = tokio::join!(client.submit(bitcoin("held")), let_go);
    let (reason, _) = not_sent(outcome);
    assert!(reason.contains("-1021"), "{reason}");
    exchange.saw_one("held", 0, "held").await;
}

/// A request that the venue is too slow with, by its own clock, is refused in the same way.
#[tokio::test]
async fn a_request_delayed_past_its_window_is_not_sent_and_executes_nothing() {
    let exchange = Exchange::start().await;
    let client = Client::with(BinanceConfig { receive_window: Duration::from_millis(100), ..config(&exchange.url()) });
    exchange.fault_on_submit(json!({"fault": "delay", "ms": 300})).await;
    let (reason, _) = not_sent(client.submit(bitcoin("delayed")).await);
    assert!(reason.contains("-1021"), "{reason}");
    exchange.saw_one("delayed", 0, "delayed").await;
}

/// A request that was given up on is unknown; let go past its window, it executes nothing.
#[tokio::test]
async fn a_request_given_up_on_does_nothing_past_its_window() {
    let exchange = Exchange::start().await;
    let rule = exchange.fault_on_submit(json!({"fault": "hold"})).await;
    unknown(Client::hasty(&exchange.url()).submit(bitcoin("given-up")).await);
    exchange.holds_one().await;
    exchange.shift_clock(5_001).await;
    exchange.release(&rule).await;
    let finished = exchange.finished("given-up").await;
    assert_eq!(finished["code"], -1021, "{finished}");
    exchange.saw_one("given-up", 0, "given up").await;
}

/// A request that was given up on is unknown for a reason: let go within its window, it pays.
#[tokio::test]
async fn a_request_given_up_on_still_pays_within_its_window() {
    let exchange = Exchange::start().await;
    let rule = exchange.fault_on_submit(json!({"fault": "hold"})).await;
    let patient = BinanceConfig { receive_window: Duration::from_secs(60), ..config(&exchange.url()) };
    let client = Client::with(BinanceConfig { answer_timeout: crate::client::SHORT, ..patient });
    unknown(client.submit(bitcoin("still-paid")).await);
    exchange.holds_one().await;
    exchange.release(&rule).await;
    let finished = exchange.finished("still-paid").await;
    assert!(finished["withdrawal_id"].is_string(), "{finished}");
    exchange.saw_one("still-paid", 1, "still paid").await;
}

/// The window that counts is the configured one, from the time that was given.
#[tokio::test]
async fn the_configured_window_counts_from_the_given_time() {
    let exchange = Exchange::start().await;
    for (window_s, taken) in [(60, true), (20, false)] {
        let config = BinanceConfig { receive_window: Duration::from_secs(window_s), ..config(&exchange.url()) };
        let outcome = Client::with(config).submit_signed(bitcoin("aged"), now_ms() - 30_000).await;
        assert_eq!(matches!(outcome, SendOutcome::Done(_)), taken, "{window_s}: {outcome:?}");
        if !taken {
            not_sent(outcome);
        }
    }
    assert_eq!(exchange.executed("aged").await.len(), 1);
}
