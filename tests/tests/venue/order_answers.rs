//! What an answer to an order or a cancel means, code by code and byte by byte.

use serde_json::json;

use crate::client::{Client, KEY, not_sent, rejected, unknown};
use crate::trading::{ORDER, bid, done};
use crate::wire::{Reply, Wire};

/// "Refused, and nothing happened", as this test has it, for placing and for cancelling.
const PLACE_REJECTIONS: [i64; 24] = [
    -1002, -1013, -1014, -1020, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1111, -1114, -1115, -1116,
    -1117, -1118, -1121, -1128, -1131, -2010, -2014, -2015,
];
const CANCEL_REJECTIONS: [i64; 16] =
    [-1002, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1119, -1121, -1128, -1131, -2011, -2014, -2015];
const OUT_OF_WINDOW: i64 = -1021;

/// Refuses with the status and the code that the client id names.
async fn refusing() -> Wire {
    Wire::start(|request| {
        let name = if request.method == "POST" { "newClientOrderId" } else { "origClientOrderId" };
        let (status, code) = request.parameter(name).split_once(':').unwrap();
        let code: i64 = code.parse().unwrap();
        Reply::json(status.parse().unwrap(), &json!({"code": code, "msg": "Refused, certainly."}))
    })
    .await
}

/// Only the codes on the lists are rejections, only with a status of the venue's own.
#[tokio::test]
async fn only_the_listed_codes_are_rejections() {
    let wire = refusing().await;
    let client = Client::of(&wire.url());
    let documented = [-1299..=-1000, -2099..=-2000, -4299..=-3999, -6099..=-6000, -9050..=-8990];
    for code in documented.into_iter().flatten().chain([0, 1, 200, i64::MIN, i64::MAX]) {
        let id = format!("400:{code}");
        let (placed, cancelled) = (client.place(bid(&id)).await, client.cancel(&id).await);
        if code == OUT_OF_WINDOW {
            not_sent(placed);
            not_sent(cancelled);
            continue;
        }
        let read = |listed: bool, outcome| if listed { rejected(outcome) } else { unknown(outcome) };
        for reason in
            [read(PLACE_REJECTIONS.contains(&code), placed), read(CANCEL_REJECTIONS.contains(&code), cancelled)]
        {
            assert!(reason.contains(&format!(" {code}: Refused, certainly.")), "{reason}");
        }
    }
    for status in [200, 202, 302, 403, 409, 500, 502, 503, 504] {
        for code in [-1013, -2010, -2011, OUT_OF_WINDOW] {
            let id = format!("{status}:{code}");
            unknown(client.place(bid(&id)).await);
            unknown(client.cancel(&id).await);
        }
    }
}

/// A success is one only when it is about this order and carries the venue's id.
#[tokio::test]
async fn a_success_about_something_else_is_unknown() {
    let good = json!({"symbol": "BTCUSDT", "orderId": 28, "orderListId": -1, "clientOrderId": "a", "transactTime": 1});
    let wire = Wire::always(Reply::json(200, &good)).await;
    assert_eq!(done(Client::of(&wire.url()).place(bid("a")).await), "28");
    for (field, value) in [
        ("symbol", json!("ETHUSDT")),
        ("clientOrderId", json!("b")),
        ("clientOrderId", json!(null)),
        ("orderId", json!("28")),
        ("orderId", json!(-28)),
        ("orderId", json!(2.5)),
        ("orderId", json!(null)),
    ] {
        let mut other = good.clone();
        other[field] = value.clone();
        let wire = Wire::always(Reply::json(200, &other)).await;
        unknown(Client::of(&wire.url()).place(bid("a")).await);
        assert_eq!(wire.requests().len(), 1, "{field} {value}");
    }
    for body in ["", "{}", "[]", "null", "<html>", r#"{"code":-2010,"msg":"Account has insufficient balance."}"#] {
        let wire = Wire::always(Reply::http(200, &[], body)).await;
        unknown(Client::of(&wire.url()).place(bid("a")).await);
        unknown(Client::of(&wire.url()).cancel("a").await);
        assert_eq!(wire.requests().len(), 2, "{body}");
    }
    let cancelled = json!({"symbol": "BTCUSDT", "origClientOrderId": "b", "orderId": 28, "status": "CANCELED"});
    let wire = Wire::always(Reply::json(200, &cancelled)).await;
    assert_eq!(done(Client::of(&wire.url()).cancel("b").await), "28");
    unknown(Client::of(&wire.url()).cancel("a").await);
}

/// A connection that ends anywhere on the way is unknown, and nothing is sent again.
#[tokio::test]
async fn a_hang_up_is_unknown() {
    for partial in ["", "HTTP/1.1 200", "HTTP/1.1 400 Bad Request\r\ncontent-length: 99\r\n\r\n{\"code\":-2010,"] {
        let wire = Wire::always(Reply::cut_off(partial)).await;
        unknown(Client::of(&wire.url()).place(bid("a")).await);
        unknown(Client::of(&wire.url()).cancel("a").await);
        assert_eq!(wire.requests().len(), 2);
        let wire = Wire::always(Reply::stalled(partial)).await;
        unknown(Client::hasty(&wire.url()).place(bid("a")).await);
        assert_eq!(wire.requests().len(), 1);
    }
}

/// A request carries each parameter as it was given, and nothing else.
#[tokio::test]
async fn every_parameter_of_an_order_arrives_as_it_was_given() {
    let good = json!({"symbol": "BTCUSDT", "orderId": 28, "clientOrderId": "a"});
    let wire = Wire::always(Reply::json(200, &good)).await;
    done(Client::of(&wire.url()).place_signed(bid("a"), 1_234_567_890_123).await);
    let request = wire.only_request();
    assert_eq!((request.method.as_str(), request.path.as_str(), request.api_key.as_str()), ("POST", ORDER, KEY));
    let mut sent: Vec<(&str, &str)> = request.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(sent.pop().unwrap().0, "signature");
    sent.sort_unstable();
    let expected = [
        ("newClientOrderId", "a"),
        ("newOrderRespType", "ACK"),
        ("price", "90000"),
        ("quantity", "0.5"),
        ("recvWindow", "5000"),
        ("side", "BUY"),
        ("symbol", "BTCUSDT"),
        ("timeInForce", "GTC"),
        ("timestamp", "1234567890123"),
        ("type", "LIMIT"),
    ];
    assert_eq!(sent, expected);
}
