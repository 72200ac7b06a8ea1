//! Goal: a venue that can't be looked at is told, and keeps no other from being looked at.

use backstop::stack::wait_until;
use backstop_domain::reconcile::Report;
use backstop_tests::{End, World, world::DEADLINE};
use serde_json::json;

use crate::named;

#[tokio::test]
async fn a_venue_that_no_worker_serves() {
    let world = World::new().await;
    let add = sqlx::query(
        "INSERT INTO networks (asset, network, venue, address_pattern) VALUES ('BTC', 'other', 'kraken', '^.*$')",
    );
    add.execute(&mut world.database.owner().await).await.unwrap();
    let id = format!("reconcile/{}", world.queue());
    world.start_any("Reconcile", &id, &json!({"checks": ["venues", "transit"]})).await;
    let waited = async || world.status_of(&id).await.steps.iter().any(|step| step.step == "orders/kraken");
    assert!(wait_until(DEADLINE, waited).await);
    let End::Result(report) = world.end_of(&id).await else { panic!("no report") };
    let report: Report = serde_json::from_value(report).unwrap();
    for check in ["transit", "payouts/binance", "orders/binance", "deposits/binance"] {
        assert!(named(&report, check).looked, "{check}: {report:?}");
    }
    for check in ["payouts/kraken", "orders/kraken", "deposits/kraken", "custody"] {
        let told = named(&report, check);
        assert!(!told.looked && told.note.starts_with("kraken could not be looked at"), "{check}: {report:?}");
    }
    assert!(report.summary.contains("4 checks could not be made"), "{report:?}");
    assert_eq!((report.open_critical, report.open_warnings), (0, 0));
}
