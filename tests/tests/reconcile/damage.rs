//! Goal: each kind of damage to the books is found by its check, as that and nothing else, in a run of every check over all of
//! the books; it freezes its account and no other, and is over when it is undone.

use backstop::stack::wait_until;
use backstop_tests::{World, corruption::Seeded, rewards::reward_workflow, world::DEADLINE};

use crate::{check, damage, found, says};

fn critical(kind: &str, subject: &str) -> String {
    format!("Critical {kind} {subject}")
}

async fn text(world: &World, sql: &'static str, of: &str) -> String {
    sqlx::query_scalar(sql).bind(of).fetch_one(&mut world.database.owner().await).await.unwrap()
}

async fn are_found(world: &World, table: Vec<(String, String, Vec<String>, Vec<String>)>) {
    for (damage, undo, found, frozen) in table {
        world.is_found(&Seeded { damage, undo, found, frozen }).await;
    }
}

/// A refund whose money is in transit, and its user.
async fn under_way(world: &World) -> (String, String) {
    world.arm("venue_confirm.before", "hang");
    let refund = world.true_refund().await;
    let id = world.start(&refund).await;
    world.held_at("venue_confirm.before").await;
    (id, refund["user_id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_payout_whose_transit_is_not_that_of_its_entries_and_one_that_stands_still() {
    let world = World::new().await;
    let (id, user) = under_way(&world).await;
    world.finds(&[]).await;
    let payout = |set: &str| format!("UPDATE payouts SET {set} WHERE payout_id = '{id}'");
    let stuck = || vec![format!("Warning payout_stuck {id}")];
    are_found(
        &world,
        vec![
            (
                payout("amount = 0.3, in_transit = 0.3"),
                payout("amount = 0.25, in_transit = 0.25"),
                vec![
                    critical("payout_transit_differs", &id),
                    critical("account_differs", &format!("account/{user}/BTC")),
                    critical("entry_without_row", &format!("entry/{id}/open/1")),
                    // The exchange was asked for the other amount.
                    critical("payout_amount_differs", &id),
                ],
                vec![format!("{user} BTC")],
            ),
            (payout("changed_at = now() - interval '3 hours'"), payout("changed_at = now()"), stuck(), Vec::new()),
            (
                payout("state = 'opened', changed_at = now() - interval '20 minutes'"),
                payout("state = 'attempted', changed_at = now()"),
                // And sent, says the exchange.
                [stuck(), vec![critical("withdrawal_without_attempt", &id)]].concat(),
                Vec::new(),
            ),
        ],
    )
    .await;
    world.disarm("venue_confirm.before");
    world.reaches(&id, "settled").await;
    world.finds(&[]).await;
}

#[tokio::test]
async fn a_reservation_that_belongs_to_nothing_and_a_balance_that_is_locked_for_nobody() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let order = world.place(&strategy, "buy", "1000", "0.1", true).await;
    world.finds(&[]).await;
    let account = format!("account/{}/USDT", strategy.user);
    let frozen = || vec![format!("{} USDT", strategy.user)];
    let locked = |by: &str| {
        format!("UPDATE accounts SET locked = locked {by} WHERE owner = '{}' AND asset = 'USDT'", strategy.user)
    };
    let state = |state: &str| format!("UPDATE orders SET state = '{state}' WHERE order_id = '{order}'");
    let reservation = |set: &str| format!("UPDATE reservations SET {set} WHERE reservation_id = 'order/{order}'");
    are_found(
        &world,
        vec![
            (
                locked("+ 1"),
                locked("- 1"),
                vec![
                    critical("locked_differs", &account),
                    critical("account_differs", &account),
                    // One more is owed than the exchange holds.
                    critical("custody_differs", "asset/USDT"),
                ],
                frozen(),
            ),
            (
                state("ended"),
                state("placed"),
                vec![
                    critical("reservation_orphaned", &format!("reservation/order/{order}")),
                    critical("order_open_at_venue", &format!("order/{order}")),
                ],
                frozen(),
            ),
            (
                reservation("state = 'released', remaining = 0, released = 100"),
                reservation("state = 'open', remaining = 100, released = 0"),
                vec![
                    critical("locked_differs", &account),
                    critical("order_without_reservation", &format!("order/{order}")),
                ],
                frozen(),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_intent_that_was_done_without_being_processed_or_disagrees_with_its_order() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let intent = world.intent(&strategy, "buy", "1000", "0.1");
    let id = intent["intent_id"].as_str().unwrap().to_owned();
    assert_eq!(world.run_any("ExecuteIntent", &format!("intent/{id}"), &intent).await.kind(), "done");
    world.finds(&[]).await;
    let order = text(&world, "SELECT order_id FROM intents WHERE intent_id = $1", &id).await;
    let inconsistent = || critical("intent_inconsistent", &format!("intent/{id}"));
    let frozen = || vec![format!("{} USDT", strategy.user)];
    let gone = format!("DELETE FROM receipts WHERE key = '{id}'");
    let back = format!("INSERT INTO receipts (consumer, key) VALUES ('ExecuteIntent', '{id}')");
    let failed = |state: &str| format!("UPDATE intents SET state = '{state}' WHERE intent_id = '{id}'");
    let order_is = |state: &str| format!("UPDATE orders SET state = '{state}' WHERE order_id = '{order}'");
    are_found(
        &world,
        vec![
            (gone.clone(), back.clone(), vec![inconsistent()], frozen()),
            (failed("failed"), failed("done"), vec![inconsistent()], frozen()),
            (
                format!("{}; {gone}", failed("failed")),
                format!("{}; {back}", failed("done")),
                vec![inconsistent()],
                frozen(),
            ),
            (order_is("attempted"), order_is("placed"), vec![inconsistent()], frozen()),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_sum_of_what_the_house_has_paid_that_its_entries_do_not_come_to() {
    let world = World::new().await;
    let user = world.depositor().await;
    world.finds(&[]).await;
    let of = format!("(SELECT id FROM accounts WHERE owner = '{user}' AND asset = 'BTC')");
    world
        .is_found(&Seeded {
            damage: format!("INSERT INTO house_sums SELECT id, version, 1 FROM accounts WHERE id = {of}"),
            undo: format!("DELETE FROM house_sums WHERE account = {of}"),
            found: vec![
                critical("house_sum_differs", &format!("account/{user}/BTC")),
                critical("custody_differs", "asset/BTC"),
            ],
            // It is the house's, and no user's.
            frozen: Vec::new(),
        })
        .await;
}

#[tokio::test]
async fn an_intent_that_stands_still() {
    let world = World::new().await;
    let strategy = world.true_strategy().await;
    let intent = world.intent(&strategy, "buy", "1000", "0.1");
    let id = intent["intent_id"].as_str().unwrap().to_owned();
    world.arm("venue_place.before", "hang");
    world.start_any("ExecuteIntent", &format!("intent/{id}"), &intent).await;
    world.held_at("venue_place.before").await;
    let since = |when: &str| format!("UPDATE intents SET changed_at = {when} WHERE intent_id = '{id}'");
    let stale = vec![format!("Warning intent_stale intent/{id}")];
    are_found(&world, vec![(since("now() - interval '1 hour'"), since("now()"), stale, Vec::new())]).await;
    world.disarm("venue_place.before");
    world.intent_is(&intent, "done").await;
    world.finds(&[]).await;
}

#[tokio::test]
async fn an_entry_a_balance_and_a_seal_that_were_rewritten() {
    let world = World::new().await;
    let refund = world.true_refund().await;
    world.finds(&[]).await;
    let user = refund["user_id"].as_str().unwrap().to_owned();
    assert_eq!(world.run(&refund).await.kind(), "settled");
    world.finds(&[]).await;
    let entry = text(
        &world,
        "SELECT key FROM entries AS e JOIN accounts AS a ON a.id = account
                               WHERE owner = $1 AND asset = 'BTC' AND e.version = 1",
        &user,
    )
    .await;
    let rewritten = |set: &str| format!("UPDATE entries SET {set} WHERE key = '{entry}'");
    let account = |set: &str| format!("UPDATE accounts SET {set} WHERE owner = '{user}' AND asset = 'BTC'");
    let seal =
        |what: &str| format!("UPDATE seals SET digest = digest_of.kept FROM ({what}) AS digest_of WHERE seq = 1");
    let broken = || vec![critical("entry_broken", &format!("entry/{entry}/1"))];
    let differs = || critical("account_differs", &format!("account/{user}/BTC"));
    let frozen = || vec![format!("{user} BTC")];
    are_found(
        &world,
        vec![
            (rewritten("kind = 'gift'"), rewritten("kind = 'deposit'"), broken(), frozen()),
            (rewritten("d_available = 5"), rewritten("d_available = 1"), broken(), frozen()),
            (
                account("available = available + 1"),
                account("available = available - 1"),
                vec![differs(), critical("custody_differs", "asset/BTC")],
                frozen(),
            ),
            (account("head = head || '\\x00'"), account("head = substr(head, 1, 32)"), vec![differs()], frozen()),
            (
                format!(
                    "CREATE TABLE kept_seal AS SELECT digest AS kept FROM seals WHERE seq = 1; {}",
                    seal("SELECT '\\x00'::bytea AS kept")
                ),
                seal("SELECT kept FROM kept_seal"),
                // The next one is made over it.
                vec![critical("seal_broken", "seal/1"), critical("seal_broken", "seal/2")],
                Vec::new(),
            ),
        ],
    )
    .await;
}

/// One user's money made another's, by whoever may post: everything adds up.
#[tokio::test]
async fn entries_that_no_business_row_asks_for() {
    let world = World::new().await;
    let (from, to) = (world.depositor().await, world.depositor().await);
    world.finds(&[]).await;
    let post = |line: u8, user: &str, amount: &str| {
        format!(
            "SELECT post('deposit/binance/forged/claim', {line}, 'deposit_claim',
                         (SELECT id FROM accounts WHERE owner = '{user}' AND asset = 'BTC'), 'suspense', {amount}, 0, 0)"
        )
    };
    let forged = |line: u8| critical("entry_without_row", &format!("entry/deposit/binance/forged/claim/{line}"));
    world
        .is_found(&Seeded {
            damage: format!("{}; {}", post(1, &from, "-1"), post(2, &to, "1")),
            undo: String::new(),
            found: vec![forged(1), forged(2)],
            frozen: vec![format!("{from} BTC"), format!("{to} BTC")],
        })
        .await;
}

#[tokio::test]
async fn a_reward_whose_parts_are_not_its_amount_or_not_its_credits() {
    let world = World::new().await;
    let pool = world.true_pool("0.5").await;
    let reward = world.reward(&pool, "0.1");
    let id = reward_workflow(&reward);
    assert_eq!(world.run_any("DistributeReward", &id, &reward).await.kind(), "distributed");
    world.finds(&[]).await;
    let users: Vec<&String> = reward["shares"].as_object().unwrap().keys().collect();
    let (pool, house) = (format!("~rewards:{pool} BTC"), "~house BTC".to_owned());
    let part = |by: &str| format!("UPDATE reward_allocations SET amount = amount {by} WHERE owner = '{}'", users[0]);
    let entry = |line: usize| critical("entry_without_row", &format!("entry/{id}/{line}"));
    let differ = || critical("reward_credits_differ", &id);
    let first = || vec![pool.clone(), format!("{} BTC", users[0])];
    let everyone: Vec<String> = users.iter().map(|user| format!("{user} BTC")).chain([pool.clone(), house]).collect();
    are_found(
        &world,
        vec![
            (
                part("+ 0.00000001"),
                part("- 0.00000001"),
                vec![differ(), critical("reward_over_allocated", &id), entry(3)],
                first(),
            ),
            (
                part("- 0.00000001"),
                part("+ 0.00000001"),
                vec![differ(), critical("reward_under_allocated", &id), entry(3)],
                first(),
            ),
            (
                "UPDATE rewards SET reward_id = 'other'; UPDATE reward_allocations SET reward_id = 'other'".to_owned(),
                format!("UPDATE rewards SET reward_id = substr('{id}', 8); UPDATE reward_allocations SET reward_id = substr('{id}', 8)"),
                [vec![critical("reward_unknown", &id), critical("reward_credits_differ", "reward/other")],
                 (1..=5).map(entry).collect()].concat(),
                everyone,
            ),
        ],
    )
    .await;
}

/// That is not single accounts that are wrong.
#[tokio::test]
async fn more_accounts_than_one_run_may_freeze() {
    let world = World::new().await;
    let mut users = Vec::new();
    for _ in 0..12 {
        users.push(world.depositor().await);
    }
    world.finds(&[]).await;
    let halts = "SELECT count(*)::text FROM halts WHERE scope = $1 AND payouts";
    world.books_say(halts, "all", "0").await;
    world.damage("UPDATE accounts SET head = '\\x00' WHERE asset = 'BTC' AND owner LIKE 'u-%'").await;
    let mut expected: Vec<String> =
        users.iter().map(|user| critical("account_differs", &format!("account/{user}/BTC"))).collect();
    let report = world.check_everything().await;
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.kind.as_str()).collect();
    assert_eq!(found.iter().filter(|kind| **kind == "account_differs").count(), 12, "{report:?}");
    assert_eq!(found.iter().filter(|kind| **kind == "too_many_deviations").count(), 1, "{report:?}");
    assert_eq!((found.len(), report.open_critical), (13, 13), "{report:?}");
    world.books_say(halts, "all", "1").await;
    assert_eq!(world.frozen().await.len(), 10);
    // The next run freezes those that this one could not, and halts nothing again.
    assert!(says(&world, &["resume", "--all", "--by", "olga", "--reason", "ticket 3"]).await.0.contains("No halt"));
    expected.push(critical("too_many_deviations", "books"));
    world.finds(&expected).await;
    assert_eq!(world.frozen().await.len(), 2);
    world.books_say(halts, "all", "0").await;
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
