//! `ExecuteIntent`, end to end: a real Temporal, a real Postgres, the exchange over HTTP, and worker processes.
#![allow(clippy::unwrap_used)]

mod cancel;
mod faults;
mod fills;
mod gates;
mod input;
mod kills;
mod pace;
mod place;
mod restored;

use backstop_tests::{End, World, books_checker, intents::order_of};
use serde_json::Value;

/// What the books and the exchange agree on about an intent that places an order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Agreed {
    /// It is done, and the exchange has its one order.
    Placed,
    /// It is over, the exchange has no order of it, and nothing is set aside.
    Nothing,
}

async fn assert_sound(world: &World) {
    let unsound = books_checker::check(&mut world.database.owner().await).await;
    assert!(unsound.is_empty(), "{unsound:#?}");
    let findings = "SELECT kind || ' ' || subject FROM findings WHERE severity = 'critical' AND state = 'open'";
    let findings: Vec<String> =
        sqlx::query_scalar(findings).fetch_all(&mut world.database.owner().await).await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

/// Holds both books against each other. There are no other lawful ends.
async fn agreed(world: &World, intent: &Value) -> Agreed {
    assert_sound(world).await;
    let orders = world.exchange.orders(&order_of(intent)).await;
    let stands = world.intent_stands(intent).await;
    match (stands.as_str(), orders.len()) {
        ("done placed", 1) => Agreed::Placed,
        ("failed void" | "failed abandoned" | "cancelled abandoned" | "failed" | "cancelled" | "abandoned", 0) => {
            Agreed::Nothing
        }
        _ => panic!("{stands} in the books, at the exchange {orders:?}"),
    }
}

/// The result's reason.
#[track_caller]
fn reason(end: &End) -> String {
    let End::Result(receipt) = end else { panic!("no result: {end:?}") };
    receipt["reason"].as_str().unwrap_or_default().to_owned()
}
