//! Goal: whatever the venue's withdrawals say otherwise than the payouts is found, and the account concerned frozen.

use backstop_tests::{
    World,
    custody::now_ms,
    exchange::{APPLY, client_id},
    world::payout_id,
};
use serde_json::{Value, json};

use crate::{damage, finds, finds_nothing, frozen};

fn account(refund: &Value) -> String {
    format!("{} BTC", refund["user_id"].as_str().unwrap())
}

/// The last withdrawal that the exchange made for a payout.
async fn last(world: &World, payout_id: &str) -> String {
    world.exchange.withdrawals(payout_id).await.pop().unwrap().id
}

#[tokio::test]
async fn one_that_is_paid_after_its_return_and_one_that_is_paid_twice() {
    let world = World::new().await;
    let (returned, settled) = (world.true_refund().await, world.true_refund().await);
    let ids = [payout_id(&returned), payout_id(&settled)];
    world.exchange.fault(APPLY, &ids[0], json!({"fault": "reject", "code": -4026})).await;
    assert_eq!(world.run(&returned).await.kind(), "returned");
    assert_eq!(world.run(&settled).await.kind(), "settled");
    finds_nothing(&world).await;
    for (id, kind, refund) in
        [(&ids[0], "payout_paid_after_return", &returned), (&ids[1], "payout_paid_twice", &settled)]
    {
        world.exchange.pay_behind_our_back(id, "0.25").await;
        finds(&world, &[format!("Critical {kind} {id}")]).await;
        assert_eq!(frozen(&world).await, [account(refund)]);
        world.exchange.force(&last(&world, id).await, "failed").await;
        finds_nothing(&world).await;
    }
    // On its way it is as bad, and not told as paid.
    for (id, refund) in [(&ids[0], &returned), (&ids[1], &settled)] {
        world.exchange.pay_behind_our_back(id, "0.25").await;
        world.exchange.force(&last(&world, id).await, "processing").await;
        finds(&world, &[format!("Critical payout_on_its_way_after_end {id}")]).await;
        assert_eq!(frozen(&world).await, [account(refund)]);
        world.exchange.force(&last(&world, id).await, "rejected").await;
        finds_nothing(&world).await;
    }
}

#[tokio::test]
async fn one_that_is_settled_here_and_failed_or_unknown_there() {
    let world = World::new().await;
    let refund = world.true_refund().await;
    let id = payout_id(&refund);
    assert_eq!(world.run(&refund).await.kind(), "settled");
    let withdrawal = last(&world, &id).await;
    let unpaid = format!("Critical payout_settled_unpaid {id}");
    world.exchange.force(&withdrawal, "failed").await;
    // The exchange has the money again, which nobody is owed.
    finds(&world, &[unpaid.clone(), "Critical custody_differs asset/BTC".into()]).await;
    assert_eq!(frozen(&world).await, [account(&refund)]);
    world.exchange.force(&withdrawal, "completed").await;
    finds_nothing(&world).await;
    world.exchange.hide_withdrawal(&withdrawal, true).await;
    finds(&world, &[unpaid]).await;
    assert_eq!(frozen(&world).await, [account(&refund)]);
    world.exchange.hide_withdrawal(&withdrawal, false).await;
    finds_nothing(&world).await;
}

#[tokio::test]
async fn one_of_another_amount_and_one_that_nobody_has_asked_for() {
    let world = World::new().await;
    let refund = world.true_refund().await;
    let id = payout_id(&refund);
    assert_eq!(world.run(&refund).await.kind(), "settled");
    for (column, wrong, right, entries) in [
        ("amount", "0.2500001", "0.25", ["open/1", "settle/1"]),
        ("network_fee", "0.0004", "0.0005", ["settle/1", "settle/2"]),
    ] {
        damage(&world, format!("UPDATE payouts SET {column} = {wrong} WHERE payout_id = '{id}'")).await;
        let entries = entries.map(|entry| format!("Critical entry_without_row entry/{id}/{entry}"));
        finds(&world, &[&entries[..], &[format!("Critical payout_amount_differs {id}")]].concat()).await;
        assert_eq!(frozen(&world).await, [account(&refund)]);
        damage(&world, format!("UPDATE payouts SET {column} = {right} WHERE payout_id = '{id}'")).await;
        finds_nothing(&world).await;
    }
    world.exchange.pay_behind_our_back("refund/never-opened", "0.25").await;
    let stray = last(&world, "refund/never-opened").await;
    finds(&world, &[format!("Critical withdrawal_without_payout binance/{stray}")]).await;
    world.exchange.force(&stray, "failed").await;
    finds_nothing(&world).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    // What others do with the account, under ids that are not like ours, is nobody's business here.
    world
        .exchange
        .withdraw(json!({"client_id": "by-hand", "coin": "BTC", "amount": "0.25", "state": "completed"}))
        .await;
    finds_nothing(&world).await;
}

/// The money left long ago; who has to say so does not.
#[tokio::test]
async fn one_that_is_paid_long_ago_and_not_settled() {
    let world = World::new().await;
    let refund = world.true_refund().await;
    let id = payout_id(&refund);
    world.exchange.fault(APPLY, &id, json!({"fault": "drop"})).await;
    world.arm("venue_confirm.before", "hang");
    world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    let (made, ago_ms) =
        (json!({"client_id": client_id(&id), "coin": "BTC", "amount": "0.25", "debit": true}), 3_600_000);
    // As if it had been sent two hours ago.
    damage(&world, "UPDATE payout_attempts SET signed_at = signed_at - interval '2 hours'".into()).await;
    let mut long_ago = made.clone();
    long_ago["executed_at_ms"] = (now_ms() - ago_ms).into();
    world.exchange.withdraw(long_ago).await;
    finds(&world, &[format!("Warning payout_not_settled {id}")]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    world.disarm("venue_confirm.before");
    world.reaches(&id, "settled").await;
    finds_nothing(&world).await;
}

/// Every send is on record before it is made, so the books have lost this one. Whoever is about to send looks first.
#[tokio::test]
async fn one_that_was_sent_and_the_books_know_of_no_attempt() {
    let world = World::new().await;
    let refund = world.true_refund().await;
    let id = payout_id(&refund);
    world.arm("venue_submit.before", "hang");
    world.start(&refund).await;
    world.held_at("venue_submit.before").await;
    finds_nothing(&world).await;
    let made = json!({"client_id": client_id(&id), "coin": "BTC", "amount": "0.25", "debit": true});
    world.exchange.withdraw(made).await;
    finds(&world, &[format!("Critical withdrawal_without_attempt {id}")]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    world.disarm("venue_submit.before");
    world.reaches(&id, "settled").await;
    assert_eq!(world.exchange.withdrawals(&id).await.len(), 1);
}
