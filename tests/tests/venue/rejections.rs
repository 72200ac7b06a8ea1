//! A refusal is believed only when its code is on a closed list and its status is the client's fault.

use backstop_activities::venue::{BinanceConfig, SendOutcome, Withdrawal};
use serde_json::json;

use crate::client::{Client, TRX_ADDRESS, XRP_ADDRESS, bitcoin, config, rejected, unknown};
use crate::exchange::Exchange;
use crate::wire::{Reply, Wire};

/// The closed list, written down a second time: a longer one is a decision, not an accident.
const REJECTIONS: [i64; 22] = [
    -1002, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1111, -2014, -2015, -4008, -4018, -4019, -4021,
    -4022, -4023, -4024, -4025, -4026, -4033,
];
const OUT_OF_WINDOW: i64 = -1021;

/// Each code of the closed list is a rejection that names the code and the venue's words, and is not sent twice.
#[tokio::test]
async fn every_code_of_the_closed_list_is_a_rejection() {
    let exchange = Exchange::start().await;
    let client = Client::of(&exchange.url());
    for status in [400, 401] {
        for code in REJECTIONS {
            let (client_id, message) = (format!("{status}{code}"), format!("words for {code}."));
            let fault = json!({"fault": "reject", "code": code, "http_status": status, "msg": message});
            exchange.fault_on_submit(fault).await;
            let reason = rejected(client.submit(bitcoin(&client_id)).await);
            assert!(reason.contains(&code.to_string()) && reason.contains(&message), "{reason}");
            exchange.saw_one(&client_id, 0, &client_id).await;
        }
    }
}

/// What the venue itself refuses, for the reasons that the list is made of, is a rejection that moved nothing.
#[tokio::test]
async fn the_venues_own_refusals_are_rejections() {
    let exchange = Exchange::start().await;
    exchange.set(json!({"withdraw_disabled": ["USDT/TRX"], "balances": {"BTC": "3"}})).await;
    let client = Client::of(&exchange.url());
    let base = bitcoin("refused");
    let tron = Withdrawal { asset: "USDT", network: "TRX", amount: "50", address: TRX_ADDRESS, ..base.clone() };
    let ripple = Withdrawal { asset: "XRP", network: "XRP", amount: "5", address: XRP_ADDRESS, ..base.clone() };
    let cases = [
        ("unknown coin", -4018, Withdrawal { asset: "DOGE", ..base.clone() }),
        ("closed network", -4019, tron),
        ("unknown network", -4019, Withdrawal { network: "SOL", ..base.clone() }),
        ("bad address", -4033, Withdrawal { address: "nowhere", ..base.clone() }),
        ("no address", -1102, Withdrawal { address: "", ..base.clone() }),
        ("bad tag", -4008, Withdrawal { tag: Some("nobody"), ..ripple.clone() }),
        ("empty tag", -1105, Withdrawal { tag: Some(""), ..ripple.clone() }),
        ("below the minimum", -4022, Withdrawal { amount: "0.0009", ..base.clone() }),
        ("above the maximum", -4023, Withdrawal { amount: "101", ..base.clone() }),
        ("not a multiple", -4021, Withdrawal { amount: "5.0000001", ..ripple }),
        ("too precise", -1111, Withdrawal { amount: "0.123456789", ..base.clone() }),
        ("no amount at all", -1100, Withdrawal { amount: "much", ..base.clone() }),
        ("insufficient balance", -4026, Withdrawal { amount: "3.00000001", ..base.clone() }),
    ];
    for (what, code, withdrawal) in cases {
        let reason = rejected(client.submit(withdrawal).await);
        assert!(reason.contains(&format!(" {code}: ")), "{what}: {reason}");
    }
    let strangers = [
        ("wrong secret", -1022, BinanceConfig { api_secret: "another".into(), ..config(&exchange.url()) }),
        ("wrong key", -2015, BinanceConfig { api_key: "another".into(), ..config(&exchange.url()) }),
        ("no key", -2014, BinanceConfig { api_key: String::new(), ..config(&exchange.url()) }),
    ];
    for (what, code, config) in strangers {
        let reason = rejected(Client::with(config).submit(base.clone()).await);
        assert!(reason.contains(&format!(" {code}: ")), "{what}: {reason}");
    }
    assert_eq!(exchange.executed("refused").await.len(), 0);
    assert_eq!(exchange.received("refused").await.len(), 16);
}

/// No code outside of the list says that nothing happened, however much it sounds like it.
#[tokio::test]
async fn no_other_code_is_a_rejection() {
    let strays = [0, 1, -1, -2, 200, 1022, 4026, -9999, -10_000, -65_535, i64::MAX, i64::MIN];
    // The whole of the numbers that the venue documents: a code that is added to the list by mistake is found here.
    let documented = [-1299..=-1000, -2099..=-2000, -4299..=-3999, -6099..=-6000, -9050..=-8990];
    let codes = documented.into_iter().flatten().chain(strays);
    let codes: Vec<i64> = codes.filter(|code| !REJECTIONS.contains(code) && *code != OUT_OF_WINDOW).collect();
    for wanted in [-1000, -1001, -1003, -1006, -1007, -1015, -4105, -9999] {
        assert!(codes.contains(&wanted));
    }
    let wire = refusing_by_client_id().await;
    let client = Client::of(&wire.url());
    for code in &codes {
        for status in [400, 401] {
            let reason = unknown(client.submit(bitcoin(&format!("{status}:{code}"))).await);
            assert!(reason.contains(&format!(" {code}: Refused, certainly.")), "{reason}");
        }
    }
    assert_eq!(wire.requests().len(), codes.len() * 2);
}

/// A client id that the venue has seen before says nothing about what became of it.
#[tokio::test]
async fn a_duplicate_order_id_is_unknown() {
    let exchange = Exchange::start().await;
    exchange.set(json!({"dedupe": "duplicate_error"})).await;
    let client = Client::of(&exchange.url());
    let first = client.submit(bitcoin("twice")).await;
    assert!(matches!(first, SendOutcome::Done(_)), "{first:?}");
    let reason = unknown(client.submit(bitcoin("twice")).await);
    assert!(reason.contains("-4105"), "{reason}");
    assert_eq!(exchange.executed("twice").await.len(), 1);
}

/// A listed code with a status that is not the client's fault comes from something in between, which knows nothing.
#[tokio::test]
async fn a_listed_code_with_another_status_is_unknown() {
    let wire = refusing_by_client_id().await;
    let client = Client::of(&wire.url());
    for status in [200, 202, 302, 500, 502, 503, 504, 599] {
        for code in REJECTIONS.into_iter().chain([OUT_OF_WINDOW]) {
            let before = wire.requests().len();
            unknown(client.submit(bitcoin(&format!("{status}:{code}"))).await);
            assert_eq!(wire.requests().len(), before + 1, "{status} {code}");
        }
    }
}

/// A body that is almost a refusal is none.
#[tokio::test]
async fn an_unreadable_refusal_is_unknown() {
    let bodies = [
        "",
        "null",
        "-4026",
        "{}",
        r#"{"code":-4026}"#,
        r#"{"code":"-4026","msg":"Refused."}"#,
        r#"{"code":-4026.0,"msg":"Refused."}"#,
        r#"{"code":null,"msg":"Refused."}"#,
        r#"{"error":{"code":-4026,"msg":"Refused."}}"#,
        r#"{"code":-4026,"msg":"Refused.""#,
        r#"{"code":-4026,"code":-1000,"msg":"Refused."}"#,
        "<html>-4026</html>",
    ];
    for status in [400, 401, 403, 404, 409] {
        for body in bodies {
            let wire = Wire::always(Reply::http(status, &[("content-type", "application/json")], body)).await;
            unknown(Client::of(&wire.url()).submit(bitcoin("almost")).await);
            wire.only_request();
        }
    }
}

/// Refuses with the status and the code that the client id names, so that one server can give them all.
async fn refusing_by_client_id() -> Wire {
    Wire::start(|request| {
        let (status, code) = request.parameter("withdrawOrderId").split_once(':').unwrap();
        let code: i64 = code.parse().unwrap();
        Reply::json(status.parse().unwrap(), &json!({"code": code, "msg": "Refused, certainly."}))
    })
    .await
}
