//! Goal: what the venues hold is what is owed and the house's own, to the last digit, also while money is on its way.

use backstop_domain::reconcile::Report;
use backstop_tests::{
    World,
    custody::now_ms,
    exchange::APPLY,
    world::{payout_id, program},
};
use serde_json::json;
use tokio::process::Command;

use crate::{check, damage, finds, finds_nothing, frozen, named};

async fn holds(world: &World, amount: &str) {
    world.exchange.set(json!({"balances": {"BTC": amount}})).await;
}

fn moving(report: &Report) -> &str {
    assert_eq!(report.summary, "nothing is wrong", "{report:?}");
    &named(report, "custody").note
}

#[tokio::test]
async fn a_balance_that_is_not_what_is_owed() {
    let world = World::new().await;
    world.depositor().await;
    assert!(!moving(&finds_nothing(&world).await).contains("moved"));
    // The depositor's bitcoin is there, and one unit is gone.
    holds(&world, "1000.99999999").await;
    let report = finds(&world, &["Critical custody_differs asset/BTC".to_owned()]).await;
    let evidence = &report.findings[0].evidence;
    assert_eq!((&evidence["rest"], &evidence["held"]), (&json!("-0.00000001"), &json!("1000.99999999")), "{evidence}");
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    holds(&world, "1001").await;
    finds_nothing(&world).await;
    holds(&world, "1001.5").await;
    finds(&world, &["Critical custody_differs asset/BTC".to_owned()]).await;
    // It is the house's own, says an operator.
    assert!(
        house(&world, &["--venue", "binance", "--asset", "BTC", "--amount", "1000"])
            .await
            .contains("reason: expected why")
    );
    let nowhere = ["--venue", "nope", "--asset", "BTC", "--amount", "998", "--by", "olga", "--reason", "ticket 9"];
    assert!(house(&world, &nowhere).await.contains("venue: expected one of the known venues: binance"));
    let declared = ["--venue", "binance", "--asset", "BTC", "--amount", "998", "--by", "olga", "--reason", "ticket 9"];
    let said = house(&world, &declared).await;
    assert!(said.contains("declared") && said.contains("binance: 998 BTC"), "{said}");
    assert!(house(&world, &declared).await.contains("nothing has changed"));
    finds_nothing(&world).await;
    let acts =
        "SELECT operator || ' ' || evidence FROM operator_acts WHERE act = 'declare house position' AND subject = $1";
    world.books_say(acts, "binance/BTC 998", "olga ticket 9").await;
}

async fn house(world: &World, words: &[&str]) -> String {
    let mut command = Command::new(program("backstop"));
    let output = command.arg("house").args(words).env("DATABASE_URL", world.database.url()).output().await.unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[tokio::test]
async fn a_payout_that_the_venue_has_deducted_and_the_books_have_not_settled() {
    let world = World::new().await;
    let refund = world.true_refund().await;
    world.arm("venue_confirm.before", "hang");
    let id = world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    assert!(!moving(&finds_nothing(&world).await).contains("moved"));
    // Of one that the venue hides nobody can tell.
    let hidden = world.true_refund().await;
    world.exchange.fault(APPLY, &payout_id(&hidden), json!({"fault": "hide", "ms": 3_600_000})).await;
    let hidden = world.start(&hidden).await;
    world.reaches(&hidden, "attempted").await;
    let report = check(&world).await;
    let expected = format!("moved during every look of 5: BTC (payout {hidden} may have been sent)");
    assert!(moving(&report).contains(&expected), "{report:?}");
    // That nobody looked for two hours before is nothing; that nobody could tell for as long is.
    let earlier = "UPDATE watermarks SET at_ms = at_ms - 7200000 WHERE name LIKE";
    damage(&world, format!("{earlier} 'custody/BTC'")).await;
    assert!(moving(&check(&world).await).contains(&expected));
    damage(&world, format!("{earlier} 'custody/BTC%'")).await;
    finds(&world, &["Warning custody_unseen asset/BTC".to_owned()]).await;
    let made = world.exchange.withdrawals(&hidden).await.pop().unwrap();
    world.exchange.hide_withdrawal(&made.id, false).await;
    world.disarm("venue_confirm.before");
    for id in [&id, &hidden] {
        world.reaches(id, "settled").await;
    }
    assert!(!moving(&finds_nothing(&world).await).contains("moved"));
}

#[tokio::test]
async fn a_trade_that_nobody_has_booked_yet() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    for side in [("sell", "110000"), ("buy", "50000")] {
        let order = world.place(&strategy, side.0, side.1, "0.1", true).await;
        world.exchange.fill(&order, json!({"qty": "0.04"})).await;
        assert!(!moving(&finds_nothing(&world).await).contains("moved"), "{side:?}");
        let later = now_ms() + 3_600_000;
        world.exchange.fill(&order, json!({"qty": "0.02", "visible_from_ms": later})).await;
        let report = check(&world).await;
        let expected = format!("(order/{order} has trades that do not show yet)");
        assert!(moving(&report).contains(&expected), "{side:?}: {report:?}");
        // Nobody will ever see its last trade: the next one would say nothing either.
        world.exchange.fill(&order, json!({"qty": "0.04"})).await;
        if side.0 == "sell" {
            return;
        }
    }
}
