//! Nothing that is written down about a request lets anybody repeat it or make another.

use std::sync::Arc;

use backstop_activities::{
    pacing::Unpaced,
    venue::{Binance, SendOutcome},
};
use serde_json::json;
use tokio::net::TcpSocket;

use crate::client::{APPLY, Client, KEY, SECRET, bitcoin, config, tls};
use crate::wire::{Reply, Wire};

/// The text of no error holds the URL, its signature, the key or the secret.
#[tokio::test]
async fn errors_of_every_kind_keep_the_request_to_themselves() {
    let replies = [
        Reply::json(400, &json!({"code": -4026, "msg": "You have insufficient balance."})),
        Reply::json(400, &json!({"code": -1021, "msg": "Too late."})),
        Reply::json(400, &json!({"code": -1000, "msg": "Something."})),
        Reply::http(403, &[], "<html>"),
        Reply::http(429, &[("retry-after", "1")], ""),
        Reply::http(418, &[], ""),
        Reply::http(504, &[], ""),
        Reply::http(307, &[("location", APPLY)], ""),
        Reply::http(200, &[], "<html>"),
        Reply::http(200, &[("content-encoding", "gzip"), ("transfer-encoding", "nonsense")], "{}"),
        Reply::cut_off(""),
        Reply::cut_off("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"),
        Reply::cut_off("SSH-2.0-nothing\r\n\r\n"),
        Reply::stalled(""),
        Reply::stalled("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"),
    ];
    for reply in replies {
        let wire = Wire::always(reply.clone()).await;
        let client = Client::hasty(&wire.url());
        let sent = text(client.submit(bitcoin("quiet")).await);
        let looked_up = client.look_up("quiet").await.unwrap_err().reason;
        let requests = wire.requests();
        assert_eq!(requests.len(), 2, "{reply:?}");
        for (said, request) in [(sent, &requests[0]), (looked_up, &requests[1])] {
            let target = format!("{}?{}", request.path, request.query);
            for hidden in [&target, &request.query, request.parameter("signature"), &wire.url(), KEY, SECRET] {
                assert!(!said.contains(hidden), "{hidden:?} is in {said:?}");
            }
        }
    }
}

/// A connection that was not made is told without the URL, too.
#[tokio::test]
async fn a_failed_connection_keeps_the_request_to_itself() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = socket.local_addr().unwrap();
    for scheme in ["http", "https"] {
        // The watched client looks into every text by itself.
        let client = Client::of(&format!("{scheme}://{nobody}"));
        assert!(text(client.submit(bitcoin("quiet")).await).contains("could not connect"));
        assert!(client.look_up("quiet").await.unwrap_err().reason.contains("could not connect"));
    }
}

/// What a log prints of the client and its settings leaves the secret out.
#[test]
fn the_debug_form_does_not_show_the_secret() {
    tls();
    let config = config("http://127.0.0.1:1");
    let client = Binance::new(config.clone(), Arc::new(Unpaced)).unwrap();
    for printed in [format!("{config:?}"), format!("{config:#?}"), format!("{client:?}"), format!("{client:#?}")] {
        assert!(printed.contains("api_secret"), "{printed}");
        assert!(!printed.contains(SECRET), "{printed}");
    }
}

fn text(outcome: SendOutcome) -> String {
    match outcome {
        SendOutcome::Rejected(reason) | SendOutcome::NotSent { reason, .. } | SendOutcome::Unknown(reason) => reason,
        SendOutcome::Done(id) => panic!("done as {id}"),
    }
}
