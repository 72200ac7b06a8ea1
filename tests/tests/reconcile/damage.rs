//! Goal: each kind of damage to the books is found by its check, as that and nothing else, and is over when it is undone.

use backstop::stack::wait_until;
use backstop_tests::{World, world::DEADLINE};
use serde_json::Value;

use crate::{check, damage, found, says};

/// A refund whose money is in transit, and its user.
async fn under_way(world: &World) -> (String, String) {
    world.arm("venue_confirm.before", "hang");
    let refund = world.refund().await;
    let id = world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    (id, refund["user_id"].as_str().unwrap().to_owned())
}

/// Does the damage, sees what it is found as, undoes it, and sees that nothing is left.
async fn is_found(world: &World, done: String, undone: String, as_what: &[String]) {
    damage(world, done.clone()).await;
    assert_eq!(found(world).await, as_what, "{done}");
    damage(world, undone).await;
    assert_eq!(found(world).await, Vec::<String>::new(), "after {done}");
}

#[tokio::test]
async fn a_payout_whose_transit_is_not_that_of_its_entries_and_one_that_stands_still() {
    let world = World::new().await;
    let (id, _) = under_way(&world).await;
    assert_eq!(found(&world).await, Vec::<String>::new());
    let amount =
        |amount: &str| format!("UPDATE payouts SET amount = {amount}, in_transit = {amount} WHERE payout_id = '{id}'");
    is_found(&world, amount("0.3"), amount("0.25"), &[format!("payout_transit_differs {id}")]).await;
    let since = |when: &str| format!("UPDATE payouts SET changed_at = {when} WHERE payout_id = '{id}'");
    is_found(&world, since("now() - interval '3 hours'"), since("now()"), &[format!("payout_stuck {id}")]).await;
    let unsent = |state: &str, age: &str| {
        format!("UPDATE payouts SET state = '{state}', changed_at = now() - interval '{age}' WHERE payout_id = '{id}'")
    };
    let stuck = [format!("payout_stuck {id}")];
    is_found(&world, unsent("opened", "20 minutes"), unsent("attempted", "0"), &stuck).await;
    world.disarm("venue_confirm.before");
    assert_eq!(world.ended(&id).await.kind(), "settled");
    assert_eq!(found(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_reservation_that_belongs_to_nothing_and_a_balance_that_is_locked_for_nobody() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let order = world.place(&strategy, "buy", "1000", "0.1", true).await;
    assert_eq!(found(&world).await, Vec::<String>::new());
    let account = format!("account/{}/USDT", strategy.user);
    let locked = |by: &str| {
        format!("UPDATE accounts SET locked = locked {by} WHERE owner = '{}' AND asset = 'USDT'", strategy.user)
    };
    is_found(&world, locked("+ 1"), locked("- 1"), &[format!("locked_differs {account}")]).await;
    let state = |state: &str| format!("UPDATE orders SET state = '{state}' WHERE order_id = '{order}'");
    let mut owner = world.database.owner().await;
    let reservation: String = sqlx::query_scalar("SELECT reservation_id FROM orders WHERE order_id = $1")
        .bind(&order)
        .fetch_one(&mut owner)
        .await
        .unwrap();
    is_found(&world, state("ended"), state("placed"), &[format!("reservation_orphaned reservation/{reservation}")])
        .await;
    let open = |set: &str| format!("UPDATE reservations SET {set} WHERE reservation_id = '{reservation}'");
    let lost = [format!("locked_differs {account}"), format!("order_without_reservation order/{order}")];
    is_found(
        &world,
        open("state = 'released', remaining = 0, released = 100"),
        open("state = 'open', remaining = 100, released = 0"),
        &lost,
    )
    .await;
}

#[tokio::test]
async fn an_intent_that_stands_still_or_was_done_without_being_processed() {
    let world = World::new().await;
    let strategy = world.strategy().await;
    let intent = world.intent(&strategy, "buy", "1000", "0.1");
    let id = intent["intent_id"].as_str().unwrap().to_owned();
    assert_eq!(world.run_any("ExecuteIntent", &format!("intent/{id}"), &intent).await.kind(), "done");
    assert_eq!(found(&world).await, Vec::<String>::new());
    let inconsistent = [format!("intent_inconsistent intent/{id}")];
    let gone = format!("DELETE FROM receipts WHERE key = '{id}'");
    let back = format!("INSERT INTO receipts (consumer, key) VALUES ('ExecuteIntent', '{id}')");
    is_found(&world, gone.clone(), back.clone(), &inconsistent).await;
    let failed = |state: &str| format!("UPDATE intents SET state = '{state}' WHERE intent_id = '{id}'");
    is_found(&world, failed("failed"), failed("done"), &inconsistent).await;
    let unprocessed = format!("{}; {gone}", failed("failed"));
    is_found(&world, unprocessed, format!("{}; {back}", failed("done")), &inconsistent).await;
    for other in ["attempted", "void"] {
        let order = |state: &str| {
            format!(
                "UPDATE orders SET state = '{state}' WHERE order_id = (SELECT order_id FROM intents WHERE intent_id = '{id}')"
            )
        };
        damage(&world, order(other)).await;
        assert!(found(&world).await.contains(&inconsistent[0]), "{other}");
        damage(&world, order("placed")).await;
        assert_eq!(found(&world).await, Vec::<String>::new());
    }
    let waiting = format!(
        "UPDATE intents SET state = 'claimed', ended_at = NULL, changed_at = now() - interval '1 hour' WHERE intent_id = '{id}';
         DELETE FROM receipts WHERE key = '{id}'"
    );
    let over = format!(
        "UPDATE intents SET state = 'done', ended_at = now(), changed_at = now() WHERE intent_id = '{id}';
         INSERT INTO receipts (consumer, key) VALUES ('ExecuteIntent', '{id}') ON CONFLICT DO NOTHING"
    );
    // Without its workflow it would be started again, and finished, before anybody looks.
    damage(&world, waiting).await;
    let only = ["check", "--json", "--only", "intents"];
    let (text, status) = says(&world, &only).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((report["findings"][0]["kind"].as_str(), status), (Some("intent_stale"), 0), "{text}");
    damage(&world, over).await;
    assert_eq!(found(&world).await, Vec::<String>::new());
}

/// The books' own check, its freeze, what that keeps from happening and what it does not, and the way out.
#[tokio::test]
async fn an_entry_that_was_rewritten_freezes_its_account_until_an_operator_lifts_that() {
    let world = World::new().await;
    let refund = world.refund().await;
    let user = refund["user_id"].as_str().unwrap();
    let entry: String =
        sqlx::query_scalar("SELECT key FROM entries JOIN accounts AS a ON a.id = account WHERE owner = $1")
            .bind(user)
            .fetch_one(&mut world.database.owner().await)
            .await
            .unwrap();
    assert_eq!(found(&world).await, Vec::<String>::new());
    let rewritten = |kind: &str| format!("UPDATE entries SET kind = '{kind}' WHERE key = '{entry}'");
    damage(&world, rewritten("gift")).await;
    let full = ["check", "--full", "--only", "books"];
    let (text, status) = says(&world, &full).await;
    assert!(text.contains(&format!("entry_broken of entry/{entry}/1")) && status == 1, "{text}");
    let refused = world.run(&refund).await;
    assert_eq!(refused.kind(), "Frozen");
    assert!(format!("{refused:?}").contains(&format!("entry_broken of entry/{entry}/1")), "{refused:?}");
    let deposit = sqlx::query_scalar::<_, bool>("SELECT deposit_credit('binance', 'more', $1, 'BTC', 1)");
    assert!(deposit.bind(user).fetch_one(&mut world.database.worker().await).await.unwrap());
    // It is shown and answered for, and stays until it is gone.
    let (text, status) = says(&world, &["findings", "list"]).await;
    assert!(text.contains("critical") && text.contains(&entry) && status == 0, "{text}");
    let (text, status) = says(&world, &["findings", "ack", "1", "--by", "olga", "--reason", "ticket 4"]).await;
    assert!(text.contains("olga answers for it") && status == 0, "{text}");
    let report = check(&world).await;
    assert_eq!((report.open_critical, report.findings.len()), (1, 1));
    assert!(report.summary.contains("1 of them answered for"), "{}", report.summary);
    damage(&world, rewritten("deposit")).await;
    // A look at what is new does not see that what is old is right again; one at everything does.
    assert_eq!(found(&world).await.len(), 1);
    let (text, status) = says(&world, &full).await;
    assert!(text.contains("nothing is wrong") && status == 0, "{text}");
    let lift = ["unfreeze", "--user", user, "--asset", "BTC", "--by", "olga", "--reason", "ticket 4"];
    assert!(says(&world, &lift).await.0.contains("is free again"));
    let another = serde_json::json!({"refund_id": "another", "user_id": user, "asset_id": "BTC", "amount": "0.25",
        "destination": refund["destination"], "reason": "order cancelled"});
    assert_eq!(world.run(&another).await.kind(), "settled");
    assert_eq!(found(&world).await, Vec::<String>::new());
}

/// The safe repair: whoever has lost its workflow gets it back.
#[tokio::test]
async fn an_operation_that_has_lost_its_workflow_is_started_again() {
    let world = World::new().await;
    let (id, _) = under_way(&world).await;
    let ended = world.temporal(&["workflow", "terminate", "-w", &id, "--reason", "by mistake"]).await;
    assert!(ended.status.success());
    world.disarm("venue_confirm.before");
    let again = format!("started again: {id}");
    let adopted = wait_until(DEADLINE, async || check(&world).await.checks[0].note.contains(&again)).await;
    assert!(adopted, "{id} was not started again");
    world.reaches(&id, "settled").await;
    let noted = "SELECT count(*)::text FROM outbox WHERE kind = 'operation.adopted' AND aggregate = 'adoption/' || $1";
    world.books_say(noted, &id, "1").await;
    assert!(check(&world).await.checks[0].note.starts_with("0 operations are not over"));
}
