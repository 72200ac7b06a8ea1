//! Goal: a refund pays exactly once, whoever starts it and however often, and says clearly what it did.

use backstop_tests::{Verdict, World, world::payout_id};
use backstop_workflows::search;
use serde_json::json;
use sqlx::Row;

#[tokio::test]
async fn a_refund_started_at_the_command_line_is_paid_once_and_both_books_say_so() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    let started = world
        .temporal(&[
            "workflow",
            "start",
            "--fail-existing",
            "--type",
            "Refund",
            "--task-queue",
            world.queue(),
            "--workflow-id",
            &id,
            "--static-summary",
            "a refund",
            "--input",
            &refund.to_string(),
        ])
        .await;
    assert!(started.status.success(), "{started:?}");
    let receipt = world.ended(&id).await.receipt();
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    let made = world.exchange.withdrawals(&id).await;
    assert_eq!((receipt.amount.as_str(), receipt.state.name()), ("0.25", "settled"));
    assert_eq!(receipt.venue_reference, Some(made[0].id.clone()));
    assert_eq!(receipt.network_fee, Some(made[0].fee.normalize().to_string()));
    assert!(receipt.tx_id.is_some());
}

#[tokio::test]
async fn the_books_show_each_movement_and_an_event_for_it() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    world.run(&refund).await.receipt();
    let mut books = world.database.owner().await;
    let rows = sqlx::query(
        "SELECT kind, counter, trim_scale(d_available)::text, trim_scale(d_transit)::text, trim_scale(d_counter)::text
           FROM entries WHERE key LIKE $1 ORDER BY version",
    );
    let rows = rows.bind(format!("{id}/%")).fetch_all(&mut books).await.unwrap();
    let text = |row: &sqlx::postgres::PgRow, column: usize| row.get::<Option<String>, _>(column).unwrap_or_default();
    let lines: Vec<Vec<String>> = rows.iter().map(|row| (0..5).map(|column| text(row, column)).collect()).collect();
    assert_eq!(
        lines,
        [
            ["payout_open", "", "-0.25", "0.25", "0"],
            ["payout_settle", "world", "0", "-0.2495", "0.2495"],
            ["payout_fee", "fees", "0", "-0.0005", "0.0005"],
        ]
    );
    let events: Vec<String> = sqlx::query_scalar("SELECT kind FROM outbox WHERE aggregate = $1 ORDER BY id")
        .bind(&id)
        .fetch_all(&mut books)
        .await
        .unwrap();
    assert_eq!(events, ["payout.opened", "payout.attempted", "payout.settled"]);
}

#[tokio::test]
async fn what_a_person_looks_at_in_temporal_is_filled_in() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = world.start(&refund).await;
    world.ended(&id).await.receipt();
    let status = world.status(&id).await;
    assert_eq!((status.state.as_str(), status.waiting_for), ("settled", None));
    let steps: Vec<&str> = status.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["open payout", "submit to the venue", "confirm with the venue", "settle payout"]);
    let metadata = world.temporal(&["workflow", "metadata", "-w", &id]).await;
    let metadata = String::from_utf8_lossy(&metadata.stdout).into_owned();
    assert!(metadata.contains("| open payout | done | abandon payout |"), "{metadata}");
    let attributes = world.search_attributes(&id).await;
    let user = refund["user_id"].as_str().unwrap();
    for (key, value) in [
        (&search::USER_ID, user),
        (&search::ASSET_ID, "BTC"),
        (&search::VENUE, "binance"),
        (&search::OPERATION_STATE, "settled"),
    ] {
        assert_eq!(attributes.get(key).as_deref(), Some(value));
    }
    let summaries = world.summaries(&id).await;
    let expected =
        ["open payout", "submit", "confirm", "settle"].map(|verb| format!("{verb} {id}: 0.25 BTC of user {user}"));
    assert_eq!(summaries, expected);
}

#[tokio::test]
async fn a_refund_held_by_another_workflow_is_refused_and_once_final_answered_with_the_first_receipt() {
    let world = World::new().await;
    let refund = world.refund().await;
    world.arm("venue_confirm.before", "hang");
    let id = world.start(&refund).await;
    world.reaches(&id, "attempted").await;
    let (second, third) = (format!("{id}/second"), format!("{id}/third"));
    world.start_as(&second, &refund).await;
    let refused = world.ended(&second).await;
    assert_eq!(refused.kind(), "Held");
    assert!(format!("{refused:?}").contains(&id), "{refused:?} does not name the holder");
    world.disarm("venue_confirm.before");
    let first = world.ended(&id).await.receipt();
    world.start_as(&third, &refund).await;
    assert_eq!(world.ended(&third).await.receipt(), first);
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_refund_started_twice_at_once_under_two_workflow_ids_is_paid_once() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    let other = format!("{id}/other");
    futures::join!(world.start_as(&id, &refund), world.start_as(&other, &refund));
    let (one, two) = futures::join!(world.ended(&id), world.ended(&other));
    let kinds = [one.kind(), two.kind()];
    assert!(kinds.contains(&"settled"), "{kinds:?}");
    assert!(kinds.iter().all(|kind| ["settled", "Held"].contains(kind)), "{kinds:?}");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn an_id_used_before_with_other_content_is_refused_by_field_and_disturbs_nothing() {
    let world = World::new().await;
    let refund = world.refund().await;
    let id = payout_id(&refund);
    let first = world.run(&refund).await.receipt();
    for (pointer, value, field) in [
        ("/amount", json!("0.26"), "amount"),
        ("/reason", json!("another reason"), "reason"),
        ("/user_id", json!("bob"), "user_id"),
        ("/destination/address", json!("1BoatSLRHtKNngkdXEeobR76b53LETtpyT"), "destination.address"),
    ] {
        let mut other = refund.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        let ended = world.run(&other).await;
        assert_eq!(ended.kind(), "Conflict");
        assert!(format!("{ended:?}").contains(field), "{ended:?} does not name {field}");
    }
    assert_eq!(world.run(&refund).await.receipt(), first);
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_refund_of_more_than_the_balance_is_refused_and_moves_nothing() {
    let world = World::new().await;
    let mut refund = world.refund().await;
    refund["amount"] = json!("1.00000001");
    let id = payout_id(&refund);
    let ended = world.run(&refund).await;
    assert_eq!(ended.kind(), "InsufficientFunds");
    assert!(format!("{ended:?}").contains("1.00000001 needed"), "{ended:?}");
    // The id stays ended, so that no late opening can ever take effect under it.
    assert_eq!(world.verdict(&id).await, Verdict::Abandoned);
    assert_eq!(world.run(&refund).await.kind(), "Abandoned");
    assert_eq!(world.exchange.requests(backstop_tests::exchange::APPLY, &id).await, 0);
}

#[tokio::test]
async fn refused_under_two_workflow_ids_both_end() {
    let world = World::new().await;
    let mut refund = world.refund().await;
    refund["amount"] = json!("1.5");
    let id = payout_id(&refund);
    let others: Vec<String> = (0..4).map(|number| format!("{id}/{number}")).collect();
    futures::future::join_all(others.iter().map(|other| world.start_as(other, &refund))).await;
    let ends = futures::future::join_all(others.iter().map(|other| world.ended(other))).await;
    for end in ends {
        assert!(["InsufficientFunds", "Abandoned"].contains(&end.kind()), "{end:?}");
    }
    assert_eq!(world.verdict(&id).await, Verdict::Abandoned);
}

#[tokio::test]
async fn a_frozen_account_opens_no_refund() {
    let world = World::new().await;
    let refund = world.refund().await;
    let freeze = sqlx::query("SELECT account_freeze($1, 'BTC', 'finding 7')").bind(refund["user_id"].as_str().unwrap());
    freeze.execute(&mut world.database.worker().await).await.unwrap();
    let ended = world.run(&refund).await;
    assert_eq!(ended.kind(), "Frozen");
    assert!(format!("{ended:?}").contains("finding 7"), "{ended:?}");
}
