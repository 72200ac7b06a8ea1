//! Whatever leaves it open whether the withdrawal was made is unknown, and is not asked a second time.

use backstop_activities::venue::SendOutcome;
use serde_json::json;

use crate::client::{APPLY, Client, bitcoin, unknown, until};
use crate::exchange::Exchange;
use crate::wire::{Reply, Wire};

const REFUSED: &str = r#"{"code":-4026,"msg":"You have insufficient balance."}"#;

/// A server error is unknown whether the venue had done it or not, since both look the same.
#[tokio::test]
async fn a_server_error_is_unknown_whether_it_was_executed_or_not() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for status in [500, 502, 503, 504] {
        for execute in [false, true] {
            let client_id = format!("{status}-{execute}");
            exchange.fault_on_submit(json!({"fault": "status", "status": status, "execute": execute})).await;
            let reason = unknown(client.submit(bitcoin(&client_id)).await);
            assert!(reason.contains(&status.to_string()), "{reason}");
            exchange.saw_one(&client_id, usize::from(execute), &client_id).await;
        }
    }
}

/// A page of a proxy or a firewall is unknown: it does not say on which side of it the request ended.
#[tokio::test]
async fn a_page_of_something_in_between_is_unknown() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for status in [400, 403, 404, 405, 408, 451] {
        for execute in [false, true] {
            let client_id = format!("{status}-{execute}");
            let page = "<html><body>Request blocked -4026</body></html>";
            let fault = json!({"fault": "status", "status": status, "body": page, "execute": execute});
            exchange.fault_on_submit(fault).await;
            let reason = unknown(client.submit(bitcoin(&client_id)).await);
            assert!(reason.contains(&status.to_string()), "{reason}");
            exchange.saw_one(&client_id, usize::from(execute), &client_id).await;
        }
    }
}

/// A success that can't be read is unknown, executed or not.
#[tokio::test]
async fn a_garbled_success_is_unknown_whether_it_was_executed_or_not() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for execute in [false, true] {
        let client_id = format!("garbage-{execute}");
        exchange.fault_on_submit(json!({"fault": "garbage", "execute": execute})).await;
        unknown(client.submit(bitcoin(&client_id)).await);
        exchange.saw_one(&client_id, usize::from(execute), &client_id).await;
    }
}

/// A success without the venue's id is unknown.
#[tokio::test]
async fn a_success_without_an_id_is_unknown() {
    for body in ["", "{}", "[]", "null", "\"w1\"", r#"{"id":7}"#, r#"{"id":null}"#, r#"{"ID":"w1"}"#, REFUSED] {
        let wire = Wire::always(Reply::http(200, &[], body)).await;
        unknown(Client::of(&wire.url()).submit(bitcoin("no-id")).await);
        wire.only_request();
    }
    for status in [201, 202, 204] {
        let body = if status == 204 { "" } else { r#"{"id":"w1"}"# };
        let wire = Wire::always(Reply::http(status, &[], body)).await;
        unknown(Client::of(&wire.url()).submit(bitcoin("other-success")).await);
        wire.only_request();
    }
}

/// A connection that ends without an answer is unknown, and the request is not made again.
#[tokio::test]
async fn a_lost_connection_is_unknown_whether_it_was_executed_or_not() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for (fault, executed) in [("drop", 0), ("lose_answer", 1)] {
        // Something went well before: a client that keeps connections would now send on a kept one.
        client.submit(bitcoin("before")).await;
        exchange.fault_on_submit(json!({"fault": fault})).await;
        unknown(client.submit(bitcoin(fault)).await);
        exchange.saw_one(fault, executed, fault).await;
    }
}

/// A request that is lost after another one went well is not made again on a new connection, as a kept one would be.
#[tokio::test]
async fn a_request_after_an_answered_one_is_not_repeated() {
    let wire = Wire::start(|request| match request.parameter("withdrawOrderId") {
        "answered" => Reply::json(200, &json!({"id": "w1"})),
        _ => Reply::cut_off(""),
    })
    .await;
    let client = Client::of(&wire.url());
    assert_eq!(client.submit(bitcoin("answered")).await, SendOutcome::Done("w1".into()));
    unknown(client.submit(bitcoin("lost")).await);
    assert_eq!((wire.requests().len(), wire.connections()), (2, 2));
}

/// A server that hangs up at any point of the exchange leaves it unknown after one attempt.
#[tokio::test]
async fn a_hang_up_at_any_point_is_unknown() {
    let slamming = Wire::slamming().await;
    unknown(Client::of(&slamming.url()).submit(bitcoin("slammed")).await);
    assert_eq!(slamming.connections(), 1);
    for partial in ["", "H", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n", "SSH-2.0-nothing\r\n\r\n"] {
        let wire = Wire::always(Reply::cut_off(partial)).await;
        unknown(Client::of(&wire.url()).submit(bitcoin("hung-up")).await);
        wire.only_request();
    }
}

/// An answer whose end is missing is not read, not even when what arrived looks whole.
#[tokio::test]
async fn a_body_that_is_cut_off_is_unknown() {
    let done = r#"{"id":"w1"}"#;
    let mut answers = Vec::new();
    for (status, body) in [("200 OK", done), ("400 Bad Request", REFUSED), ("401 Unauthorized", REFUSED)] {
        let (length, half) = (body.len(), &body[..body.len() / 2]);
        answers.push(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{half}"));
        answers.push(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", length + 1));
        answers.push(format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n"));
    }
    for answer in answers {
        let wire = Wire::always(Reply::cut_off(&answer)).await;
        unknown(Client::of(&wire.url()).submit(bitcoin("cut-off")).await);
        wire.only_request();
    }
}

/// No answer in time is unknown, and the venue goes on without us.
#[tokio::test]
async fn a_late_answer_is_unknown_and_the_withdrawal_is_made() {
    let exchange = Exchange::start().await;
    exchange.fault_on_submit(json!({"fault": "delay_answer", "ms": 3_600_000})).await;
    let reason = unknown(Client::hasty(&exchange.url()).submit(bitcoin("late")).await);
    assert!(reason.contains("no answer in time"), "{reason}");
    until("the withdrawal is made", async || {
        let executed = exchange.executed("late").await;
        (!executed.is_empty()).then_some(())
    })
    .await;
    exchange.saw_one("late", 1, "late").await;
}

/// An answer that stops on its way is unknown, wherever it stops.
#[tokio::test]
async fn an_answer_that_stalls_is_unknown() {
    let refusal = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 999\r\n\r\n{REFUSED}");
    for partial in ["", "HTTP/1.1 200 OK\r\ncontent-", "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"id\"", &refusal]
    {
        let wire = Wire::always(Reply::stalled(partial)).await;
        unknown(Client::hasty(&wire.url()).submit(bitcoin("stalled")).await);
        wire.only_request();
    }
}

/// A redirect is unknown and is not followed: the place it names would be asked for a second withdrawal.
#[tokio::test]
async fn a_redirect_is_unknown_and_not_followed() {
    let elsewhere = Wire::always(Reply::json(200, &json!({"id": "second"}))).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}{APPLY}", elsewhere.url());
        let wire = Wire::always(Reply::http(status, &[("location", &location)], "")).await;
        unknown(Client::of(&wire.url()).submit(bitcoin("redirected")).await);
        wire.only_request();
        assert_eq!(elsewhere.connections(), 0, "{status}");
    }
}
