//! Goal: a large withdrawal waits for somebody other than its requester, whose word is kept, and ends cleanly without it.

use backstop::stack::wait_until;
use backstop_tests::{End, Verdict, World, world::DEADLINE};
use serde_json::{Value, json};

fn id(withdrawal: &Value) -> String {
    format!("withdrawal/{}", withdrawal["withdrawal_id"].as_str().unwrap())
}

fn word(operator: &str) -> Value {
    json!({"operator": operator, "evidence": "called the user back"})
}

/// A withdrawal that waits for its approval.
async fn waiting(world: &World, change: impl FnOnce(&mut Value)) -> (String, Value) {
    let mut withdrawal = world.withdrawal("0.5").await;
    change(&mut withdrawal);
    let id = id(&withdrawal);
    world.start_any("Withdraw", &id, &withdrawal).await;
    let asked = wait_until(DEADLINE, async || world.status_of(&id).await.waiting_for.is_some()).await;
    assert!(asked, "{id} does not ask for an approval");
    (id, withdrawal)
}

#[tokio::test]
async fn an_approval_by_somebody_else_lets_it_go_and_is_kept_with_name_and_time() {
    let world = World::new().await;
    let (id, _) = waiting(&world, |_| {}).await;
    let approved = world.update(&id, "approve", word("ann")).await.unwrap();
    assert_eq!(approved["decided_by"], "ann");
    assert_eq!(world.end_of(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
    let mut books = world.database.owner().await;
    let acts: Vec<(String, String)> =
        sqlx::query_as("SELECT act, operator FROM operator_acts WHERE subject = $1 AND at IS NOT NULL")
            .bind(&id)
            .fetch_all(&mut books)
            .await
            .unwrap();
    assert_eq!(acts, [("approve withdrawal".to_owned(), "ann".to_owned())]);
    let decided: bool = sqlx::query_scalar(
        "SELECT decided_by = 'ann' AND decided_at BETWEEN created_at AND opened_at FROM payouts WHERE payout_id = $1",
    )
    .bind(&id)
    .fetch_one(&mut books)
    .await
    .unwrap();
    assert!(decided);
}

#[tokio::test]
async fn nobody_decides_on_what_they_have_asked_for() {
    let world = World::new().await;
    let (id, _) = waiting(&world, |_| {}).await;
    for (update, name) in [("approve", "rita"), ("approve", "RITA"), ("reject", "rita")] {
        let refused = world.update(&id, update, word(name)).await.unwrap_err();
        assert!(refused.contains("SelfApproval"), "{refused}");
    }
    assert!(world.status_of(&id).await.waiting_for.is_some());
    world.update(&id, "approve", word("ann")).await.unwrap();
    assert_eq!(world.end_of(&id).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_rejection_ends_it_and_nothing_is_debited() {
    let world = World::new().await;
    let (id, withdrawal) = waiting(&world, |_| {}).await;
    world.update(&id, "reject", word("ann")).await.unwrap();
    let end = world.end_of(&id).await;
    let End::Result(receipt) = &end else { panic!("{end:?}") };
    assert_eq!(receipt["state"], "rejected");
    assert_eq!(receipt["reason"], "rejected by ann: called the user back");
    assert_eq!(world.run_any("Withdraw", &id, &withdrawal).await, end);
    assert_eq!(world.exchange.withdrawals(&id).await.len(), 0);
    let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM entries WHERE key LIKE $1")
        .bind(format!("{id}%"))
        .fetch_one(&mut world.database.owner().await)
        .await
        .unwrap();
    assert_eq!(moved, 0);
}

#[tokio::test]
async fn without_an_approval_in_time_it_ends_cleanly_and_a_late_one_is_refused() {
    let world = World::new().await;
    let (id, withdrawal) = waiting(&world, |input| input["approval_timeout_seconds"] = json!(1)).await;
    let end = world.end_of(&id).await;
    assert_eq!(end.kind(), "expired");
    assert_eq!(world.run_any("Withdraw", &id, &withdrawal).await, end);
    assert!(world.update(&id, "approve", word("ann")).await.is_err());
    let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM entries WHERE key LIKE $1")
        .bind(format!("{id}%"))
        .fetch_one(&mut world.database.owner().await)
        .await
        .unwrap();
    assert_eq!(moved, 0);
}

#[tokio::test]
async fn cancelled_while_it_waits_it_is_abandoned() {
    let world = World::new().await;
    let (id, _) = waiting(&world, |_| {}).await;
    assert!(world.temporal(&["workflow", "cancel", "-w", &id]).await.status.success());
    assert_eq!(world.end_of(&id).await, End::Cancelled);
    world.reaches(&id, "abandoned").await;
}

#[tokio::test]
async fn cancelled_in_the_moment_its_time_is_over_it_ends() {
    let mut world = World::new().await;
    let (id, _) = waiting(&world, |input| input["approval_timeout_seconds"] = json!(3)).await;
    world.cancel_as_its_timer_fires(&id).await;
    assert_eq!(world.end_of(&id).await, End::Cancelled);
    world.reaches(&id, "abandoned").await;
}

#[tokio::test]
async fn an_approval_that_was_taken_down_outlives_the_worker_and_the_workflow() {
    let mut world = World::new().await;
    let (id, withdrawal) = waiting(&world, |_| {}).await;
    world.arm("withdrawal_decide.after", "kill");
    let handle = world.update(&id, "approve", word("ann"));
    // The worker dies before it can answer; whether the caller hears of it, is not what counts.
    let (_, ()) =
        tokio::join!(tokio::time::timeout(std::time::Duration::from_secs(2), handle), world.reaches(&id, "queued"));
    world.worker_dies().await;
    assert!(world.temporal(&["workflow", "terminate", "-w", &id]).await.status.success());
    world.start_worker().await;
    assert_eq!(world.run_any("Withdraw", &id, &withdrawal).await.kind(), "settled");
    assert_eq!(world.verdict(&id).await, Verdict::Paid);
}

#[tokio::test]
async fn a_malformed_or_unasked_decision_is_refused_by_field() {
    let world = World::new().await;
    let (id, _) = waiting(&world, |_| {}).await;
    for (input, field) in [
        (json!({"evidence": "x"}), "operator"),
        (json!({"operator": "ann"}), "evidence"),
        (json!({"operator": "ann", "evidence": "x", "ok": true}), "ok"),
        (json!(["ann"]), "input"),
    ] {
        for update in ["approve", "reject"] {
            let refused = world.update(&id, update, input.clone()).await.unwrap_err();
            assert!(refused.contains("InvalidInput") && refused.contains(field), "{refused}");
        }
    }
    let unasked = json!({"outcome": "not_executed", "evidence": "x", "operator": "ann"});
    assert!(world.update(&id, "resolve", unasked).await.unwrap_err().contains("NotAllowed"));
    world.update(&id, "approve", word("ann")).await.unwrap();
    world.end_of(&id).await;
}
