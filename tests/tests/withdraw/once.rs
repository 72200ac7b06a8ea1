//! Goal: a withdrawal pays exactly once, whoever starts it and however often, and says clearly what it did.

use backstop_tests::{End, Verdict, World};
use serde_json::json;

fn id(withdrawal: &serde_json::Value) -> String {
    format!("withdrawal/{}", withdrawal["withdrawal_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_small_withdrawal_is_paid_once_without_asking_anybody() {
    let world = World::new().await;
    let withdrawal = world.withdrawal("0.25").await;
    let id = id(&withdrawal);
    let End::Result(receipt) = world.run_any("Withdraw", &id, &withdrawal).await else { panic!("no receipt") };
    assert_eq!((&receipt["state"], &receipt["decided_by"]), (&json!("settled"), &json!(null)));
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    let steps: Vec<String> = world.status_of(&id).await.steps.into_iter().map(|step| step.step).collect();
    assert_eq!(
        steps,
        ["request withdrawal", "claim withdrawal", "submit to the venue", "confirm with the venue", "settle payout"]
    );
    // Started again, it answers with the same receipt.
    assert_eq!(world.run_any("Withdraw", &id, &withdrawal).await, End::Result(receipt));
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_withdrawal_started_twice_at_once_under_two_workflow_ids_is_paid_once() {
    let world = World::new().await;
    let withdrawal = world.withdrawal("0.25").await;
    let id = id(&withdrawal);
    let other = format!("{id}/other");
    futures::join!(world.start_any("Withdraw", &id, &withdrawal), world.start_any("Withdraw", &other, &withdrawal));
    let ends = futures::join!(world.end_of(&id), world.end_of(&other));
    let kinds = [ends.0.kind(), ends.1.kind()];
    assert!(kinds.contains(&"settled"), "{kinds:?}");
    assert!(kinds.iter().all(|kind| ["settled", "Held"].contains(kind)), "{kinds:?}");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_withdrawal_claimed_by_one_workflow_refuses_another_by_the_holders_name() {
    let world = World::new().await;
    let withdrawal = world.withdrawal("0.25").await;
    let id = id(&withdrawal);
    world.arm("venue_submit.before", "hang");
    world.start_any("Withdraw", &id, &withdrawal).await;
    world.reaches(&id, "opened").await;
    let End::Failed(kind, message) = world.run_any("Withdraw", "somebody-else", &withdrawal).await else {
        panic!("not refused")
    };
    assert_eq!(kind, "Held");
    assert!(message.contains(&id), "{message} does not name the holder");
    world.disarm("venue_submit.before");
    assert_eq!(world.end_of(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn an_id_used_before_with_other_content_is_refused_by_field() {
    let world = World::new().await;
    let withdrawal = world.withdrawal("0.25").await;
    let id = id(&withdrawal);
    world.run_any("Withdraw", &id, &withdrawal).await;
    for (field, value) in [("amount", json!("0.26")), ("requested_by", json!("ralf"))] {
        let mut other = withdrawal.clone();
        other[field] = value;
        let End::Failed(kind, message) = world.run_any("Withdraw", &id, &other).await else { panic!("not refused") };
        assert!(kind == "Conflict" && message.contains(field), "{kind}: {message}");
    }
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_withdrawal_of_more_than_the_balance_is_refused_and_moves_nothing() {
    let world = World::new().await;
    let mut withdrawal = world.withdrawal("0.25").await;
    let freeze = sqlx::query("SELECT reservation_open('r', 'w', $1, 'BTC', 0.9)");
    let user = withdrawal["user_id"].as_str().unwrap().to_owned();
    freeze.bind(&user).execute(&mut world.database.worker().await).await.unwrap();
    withdrawal["amount"] = json!("0.2");
    let id = id(&withdrawal);
    assert_eq!(world.run_any("Withdraw", &id, &withdrawal).await.kind(), "InsufficientFunds");
    world.reaches(&id, "abandoned").await;
    assert_eq!(world.exchange.withdrawals(&id).await.len(), 0);
}

#[tokio::test]
async fn a_withdrawal_killed_around_every_step_of_its_opening_is_paid_once() {
    let points =
        ["withdrawal_request.before", "withdrawal_request.after", "withdrawal_claim.before", "withdrawal_claim.after"];
    futures::future::join_all(points.map(async |point| {
        let mut world = World::new().await;
        let withdrawal = world.withdrawal("0.25").await;
        let id = id(&withdrawal);
        world.arm(point, "kill");
        world.start_any("Withdraw", &id, &withdrawal).await;
        world.worker_dies().await;
        world.start_worker().await;
        assert_eq!(world.end_of(&id).await.kind(), "settled", "{point}");
        assert_eq!(world.verdict(&id).await, Verdict::Paid, "{point}");
    }))
    .await;
}

#[tokio::test]
async fn a_withdrawal_cancelled_after_its_claim_gives_the_money_back() {
    let world = World::new().await;
    let withdrawal = world.withdrawal("0.25").await;
    let id = id(&withdrawal);
    world.arm("venue_submit.before", "hang");
    world.start_any("Withdraw", &id, &withdrawal).await;
    world.reaches(&id, "opened").await;
    assert!(world.temporal(&["workflow", "cancel", "-w", &id]).await.status.success());
    world.reaches(&id, "abandoned").await;
    world.disarm("venue_submit.before");
    assert_eq!(world.end_of(&id).await, End::Cancelled);
    assert_eq!(world.verdict(&id).await, Verdict::Abandoned);
}
