//! Goal: a reward is credited to all of its users, to the last unit, once, and never from a pool that does not hold it; and
//! the books believe nobody who has split it.

use std::collections::BTreeMap;

use backstop_activities::books::{Books, BooksError, RewardStanding};
use backstop_domain::{RefusalKind, RewardRequest};
use backstop_tests::books_checker;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::desk::{Desk, HOLDER, assert_refused, id, order, refusal};

const POOL: &str = "~rewards:season-1";

/// So much of the pool's bitcoin by shares, with a fee of 2.5 %.
pub(crate) fn reward(name: &str, amount: &str, shares: &[(&str, &str)]) -> RewardRequest {
    let share = |(user, share): &(&str, &str)| ((*user).to_owned(), share.parse().unwrap());
    RewardRequest {
        reward_id: id(name),
        pool: id("season-1"),
        asset_id: id("BTC"),
        amount: amount.parse().unwrap(),
        shares: shares.iter().map(share).collect(),
        platform_fee_bps: 250,
        requested_by: id("olga"),
    }
}

/// Three equal parts of a bitcoin.
fn thirds(name: &str) -> RewardRequest {
    reward(name, "1", &[("alice", "1"), ("carol", "1.0000"), ("bob", "1")])
}

impl Desk {
    /// A deposit of nobody's, which olga gives to the pool.
    pub(crate) async fn fill_pool(&mut self, deposit: &str, amount: &str) {
        self.books.deposit_credit("binance", deposit, None, "BTC", amount.parse().unwrap()).await.unwrap();
        assert!(self.give(deposit, POOL).await.unwrap());
    }

    async fn give(&mut self, deposit: &str, owner: &str) -> Result<bool, BooksError> {
        let sql = "SELECT deposit_assign('binance', $1, $2, 'olga', 'ticket 5')";
        Ok(sqlx::query_scalar(sql).bind(deposit).bind(owner).fetch_one(&mut self.owner).await?)
    }

    async fn distribute(&self, request: &RewardRequest) -> Result<RewardStanding, BooksError> {
        self.books.reward_distribute(request, HOLDER).await
    }

    async fn assert_refused_and_untouched(
        &mut self,
        request: &RewardRequest,
        kind: RefusalKind,
        field: &str,
        says: &str,
    ) {
        let before = self.everything().await;
        assert_refused(self.distribute(request).await, kind, field, says);
        assert_eq!(self.everything().await, before);
    }
}

#[tokio::test]
async fn every_part_is_credited_in_one_commit_and_the_fee_is_the_houses() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "3").await;
    let standing = desk.distribute(&thirds("rw-1")).await.unwrap();
    assert!(standing.applied);
    let parts = [("alice", "0.325"), ("bob", "0.325"), ("carol", "0.325")]
        .map(|(user, part)| (user.to_owned(), part.to_owned()));
    assert_eq!(standing.receipt.allocations, BTreeMap::from(parts));
    assert_eq!(standing.receipt.platform_fee.as_deref(), Some("0.025"));
    for (owner, has) in [("alice", "2.325"), ("bob", "0.825"), ("carol", "0.325"), ("~house", "0.025"), (POOL, "2")] {
        assert_eq!(desk.available(owner).await, has, "{owner}");
    }
    let entries = "SELECT concat_ws(' ', line, kind, a.owner, counter, trim_scale(d_available)) FROM entries
                     JOIN accounts AS a ON a.id = account WHERE key = 'reward/rw-1' ORDER BY line";
    let expected = [
        "1 reward_pool ~rewards:season-1 rewards:rw-1 -1",
        "2 reward_fee ~house rewards:rw-1 0.025",
        "3 reward_credit alice rewards:rw-1 0.325",
        "4 reward_credit bob rewards:rw-1 0.325",
        "5 reward_credit carol rewards:rw-1 0.325",
    ];
    assert_eq!(desk.texts(entries).await, expected);
    assert_eq!(desk.announced().await.last().unwrap(), "reward/rw-1 reward.distributed");
    // What does not come out even goes to the largest remainders, and to the first user of those that are equal.
    let uneven = RewardRequest {
        platform_fee_bps: 1,
        ..reward("rw-2", "0.00000011", &[("bob", "1"), ("alice", "1"), ("dave", "5")])
    };
    let parts = desk.distribute(&uneven).await.unwrap().receipt;
    assert_eq!((parts.platform_fee.as_deref(), &parts.allocations["dave"][..]), (Some("0"), "0.00000008"));
    assert_eq!((&parts.allocations["alice"][..], &parts.allocations["bob"][..]), ("0.00000002", "0.00000001"));
    // A part of nothing leaves no entry.
    let dust = desk.distribute(&reward("rw-3", "0.00000001", &[("alice", "9"), ("bob", "1")])).await.unwrap().receipt;
    assert_eq!((&dust.allocations["alice"][..], &dust.allocations["bob"][..]), ("0.00000001", "0"));
    desk.assert_sound().await;
}

#[tokio::test]
async fn again_it_changes_nothing_and_with_another_content_it_is_refused_by_field() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "3").await;
    let first = desk.distribute(&thirds("rw-1")).await.unwrap();
    let before = desk.everything().await;
    let again = desk.books.reward_distribute(&thirds("rw-1"), "another workflow").await.unwrap();
    assert_eq!(again, RewardStanding { applied: false, ..first });
    let same = thirds("rw-1");
    let mut without = thirds("rw-1");
    without.shares.remove("carol");
    for (other, field) in [
        (RewardRequest { amount: "1.1".parse().unwrap(), ..same.clone() }, "amount"),
        (RewardRequest { asset_id: id("ETH"), ..same.clone() }, "asset_id"),
        (RewardRequest { pool: id("season-2"), ..same.clone() }, "pool"),
        (RewardRequest { platform_fee_bps: 251, ..same.clone() }, "platform_fee_bps"),
        (RewardRequest { requested_by: id("rita"), ..same.clone() }, "requested_by"),
        (reward("rw-1", "1", &[("alice", "1"), ("bob", "1.5"), ("carol", "1")]), "shares.bob"),
        (reward("rw-1", "1", &[("alice", "1"), ("bob", "1"), ("carol", "1"), ("dave", "1")]), "shares.dave"),
        (without, "shares.carol"),
    ] {
        assert_refused(desk.distribute(&other).await, RefusalKind::Conflict, "field", field);
        let undo = desk.books.reward_abandon(&other, HOLDER, "cancelled").await;
        assert_refused(undo, RefusalKind::Conflict, "field", field);
    }
    let undo = desk.books.reward_abandon(&same, HOLDER, "cancelled").await;
    assert_refused(undo, RefusalKind::TooLate, "state", "distributed");
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn one_that_was_ended_before_it_ran_never_runs() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "3").await;
    assert!(desk.books.reward_abandon(&thirds("rw-1"), HOLDER, "cancelled").await.unwrap().applied);
    assert_eq!(desk.announced().await.last().unwrap(), "reward/rw-1 reward.abandoned");
    let before = desk.everything().await;
    assert!(!desk.books.reward_abandon(&thirds("rw-1"), HOLDER, "again").await.unwrap().applied);
    assert_refused(desk.distribute(&thirds("rw-1")).await, RefusalKind::Abandoned, "reason", "cancelled");
    assert_eq!(desk.everything().await, before);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_pool_gives_no_more_than_it_holds_and_nothing_while_it_is_frozen() {
    let mut desk = Desk::open().await;
    let no_funds = RefusalKind::InsufficientFunds;
    desk.assert_refused_and_untouched(&thirds("rw-1"), no_funds, "available", "0").await;
    desk.fill_pool("d-1", "0.99999999").await;
    desk.assert_refused_and_untouched(&thirds("rw-1"), no_funds, "available", "0.99999999").await;
    // The other pool's money, and the other asset's, is not its own.
    let elsewhere = RewardRequest { pool: id("season-2"), ..reward("rw-1", "0.5", &[("alice", "1")]) };
    desk.assert_refused_and_untouched(&elsewhere, no_funds, "owner", "~rewards:season-2").await;
    desk.fill_pool("d-2", "0.00000001").await;
    assert!(desk.freeze(POOL, "finding 7").await);
    desk.assert_refused_and_untouched(&thirds("rw-1"), RefusalKind::Frozen, "frozen_by", "finding 7").await;
    assert!(desk.unfreeze(POOL).await);
    // A credit is no spending: a user who is frozen gets it, and can't use it yet.
    assert!(desk.freeze("bob", "finding 8").await);
    assert!(desk.distribute(&thirds("rw-1")).await.unwrap().applied);
    assert_eq!((desk.available("bob").await.as_str(), desk.available(POOL).await.as_str()), ("0.825", "0"));
    let mut spend = order("r-1", "0.1");
    spend.user_id = id("bob");
    assert_eq!(refusal(desk.books.payout_open(&spend).await).kind, RefusalKind::Frozen);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_pool_is_filled_with_deposits_that_an_operator_gives_it_or_by_an_adjustment() {
    let mut desk = Desk::open().await;
    for deposit in ["d-1", "d-2", "d-3"] {
        desk.books.deposit_credit("binance", deposit, None, "BTC", "0.5".parse().unwrap()).await.unwrap();
    }
    for nobody in ["~suspense", "~rewards:", "~rewards", "~other", ""] {
        assert_refused(desk.give("d-1", nobody).await, RefusalKind::InvalidInput, "field", "user_id");
    }
    assert!(desk.give("d-1", POOL).await.unwrap());
    assert!(!desk.give("d-1", "alice").await.unwrap());
    assert!(desk.give("d-2", "~house").await.unwrap());
    assert!(desk.adjust("a-1", POOL, "0.25").await.unwrap());
    assert_eq!((desk.available(POOL).await.as_str(), desk.available("~house").await.as_str()), ("0.75", "0.5"));
    assert_eq!(desk.acts().await[0], "assign deposit binance/d-1 to ~rewards:season-1 olga ticket 5");
    assert!(desk.distribute(&reward("rw-1", "0.75", &[("alice", "1")])).await.unwrap().applied);
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_an_asset_can_not_hold_is_refused_by_field() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "3").await;
    let invalid = RefusalKind::InvalidInput;
    let unknown = RewardRequest { asset_id: id("DOGE"), ..thirds("rw-1") };
    desk.assert_refused_and_untouched(&unknown, invalid, "field", "asset_id").await;
    desk.assert_refused_and_untouched(&reward("rw-1", "0.000000001", &[("alice", "1")]), invalid, "field", "amount")
        .await;
}

/// A call of the function itself, of a reward of 1 BTC with no fee.
async fn say(desk: &mut Desk, change: Value) -> Result<Value, BooksError> {
    let mut said =
        json!({"fee_bps": 0, "fee": "0", "users": ["alice", "bob"], "shares": ["1", "3"], "parts": ["0.25", "0.75"]});
    for (field, value) in change.as_object().unwrap() {
        said[field] = value.clone();
    }
    let texts = |field: &str| serde_json::from_value::<Vec<String>>(said[field].clone()).unwrap();
    let sql = "SELECT reward_distribute('rw-1', 'w', '{}', 'season-1', 'BTC', 1, $1, 'olga', $2::numeric, $3,
                                        $4::text[]::numeric[], $5::text[]::numeric[])";
    let query = sqlx::query_scalar(sql).bind(i32::try_from(said["fee_bps"].as_i64().unwrap()).unwrap());
    let query = query.bind(said["fee"].as_str()).bind(texts("users")).bind(texts("shares")).bind(texts("parts"));
    Ok(query.fetch_one(&mut desk.owner).await?)
}

#[tokio::test]
async fn the_books_believe_no_split_that_does_not_add_up() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "3").await;
    let before = desk.everything().await;
    let no_users: [&str; 0] = [];
    for (change, field) in [
        (json!({"shares": ["1", "2"], "parts": ["0.33333333", "0.66666666"]}), "allocations"),
        (json!({"shares": ["1", "2"], "parts": ["0.33333334", "0.66666667"]}), "allocations"),
        (json!({"parts": ["0.25", "0.75000001"]}), "allocations.bob"),
        (json!({"parts": ["0.24999999", "0.75000001"]}), "allocations.alice"),
        (json!({"parts": ["0.75", "0.25"]}), "allocations.alice"),
        (json!({"parts": ["1", "0"]}), "allocations.alice"),
        (json!({"parts": ["-0.25", "1.25"]}), "allocations.alice"),
        (json!({"parts": ["0.2500000001", "0.7499999999"]}), "allocations.alice"),
        (json!({"parts": ["0.25", "NaN"]}), "allocations.bob"),
        (json!({"parts": ["0.25"]}), "shares"),
        (json!({"shares": ["1"]}), "shares"),
        (json!({"shares": ["0", "3"]}), "shares.alice"),
        (json!({"shares": ["1", "NaN"]}), "shares.bob"),
        (json!({"shares": ["1", "Infinity"]}), "shares.bob"),
        (json!({"users": ["alice", "alice"]}), "shares"),
        (json!({"users": ["alice", "~house"]}), "shares"),
        (json!({"users": ["alice", ""]}), "shares"),
        (json!({"users": no_users, "shares": no_users, "parts": no_users}), "shares"),
        (json!({"users": vec!["u"; 1_001], "shares": vec!["1"; 1_001], "parts": vec!["0"; 1_001]}), "shares"),
        (json!({"fee": "0.00000001"}), "platform_fee"),
        (json!({"fee": null}), "platform_fee"),
        (json!({"fee_bps": 100}), "platform_fee"),
        (json!({"fee_bps": 100, "fee": "0.01"}), "allocations.alice"),
    ] {
        assert_refused(say(&mut desk, change.clone()).await, RefusalKind::InvalidInput, "field", field);
    }
    // And the table itself holds none.
    let row =
        "INSERT INTO rewards (reward_id, holder, content, pool, asset, amount, platform_fee_bps, requested_by, state,
                                    account, platform_fee, allocated)
               VALUES ('rw-1', 'w', '{}', 'p', 'BTC', 1, 0, 'o', 'distributed', 1, 0.5, 0.6)";
    let refused = sqlx::query(row).execute(&mut desk.owner).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "23514");
    assert_eq!(desk.everything().await, before);
    assert_eq!(say(&mut desk, json!({})).await.unwrap()["state"], "distributed");
}

#[tokio::test]
async fn what_was_distributed_is_not_rewritten_even_by_the_owner() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "3").await;
    desk.distribute(&thirds("rw-1")).await.unwrap();
    let before = desk.everything().await;
    for statement in [
        "UPDATE rewards SET state = state",
        "DELETE FROM rewards",
        "UPDATE reward_allocations SET amount = 0",
        "DELETE FROM reward_allocations",
        "TRUNCATE reward_allocations",
    ] {
        let refused = sqlx::query(statement).execute(&mut desk.owner).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "BS012", "{statement}");
    }
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn a_thousand_users_share_to_the_last_unit() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "3").await;
    let users: Vec<(String, String)> =
        (1..=1_000).map(|number| (format!("u-{number}"), format!("{number}.{number}"))).collect();
    let shares: Vec<(&str, &str)> = users.iter().map(|(user, share)| (user.as_str(), share.as_str())).collect();
    let receipt = desk.distribute(&reward("rw-1", "2.99999999", &shares)).await.unwrap().receipt;
    assert_eq!(receipt.allocations.len(), 1_000);
    assert_eq!(desk.available(POOL).await, "0.00000001");
    desk.assert_sound().await;
}

async fn all_at_once<T: Send + 'static>(
    calls: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    join_all(calls.map(tokio::spawn)).await.into_iter().map(Result::unwrap).collect()
}

/// Whether it was distributed by this call; false when the pool held too little.
async fn try_distribute(books: Books, request: RewardRequest) -> bool {
    match books.reward_distribute(&request, HOLDER).await {
        Ok(standing) => standing.applied,
        Err(error) => {
            assert_eq!(refusal::<()>(Err(error)).kind, RefusalKind::InsufficientFunds);
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_distribute_more_than_a_pool_holds_distribute_what_it_holds() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "5.5").await;
    let processes = [desk.database.books(8).await, desk.database.books(8).await];
    // Users that nobody knows yet, in another order for each, so that all of them make accounts at once.
    let calls = (0..16).map(|number| {
        let users: Vec<String> = (0..20).map(|user| format!("new-{}", (user * 7 + number * 3) % 41)).collect();
        let shares: Vec<(&str, &str)> = users.iter().map(|user| (user.as_str(), "1")).collect();
        try_distribute(processes[number % 2].clone(), reward(&format!("rw-{number}"), "1", &shares))
    });
    let distributed = all_at_once(calls).await.into_iter().filter(|applied| *applied).count();
    assert_eq!((distributed, desk.available(POOL).await.as_str()), (5, "0.5"));
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_many_distribute_and_abandon_at_once_happens_once_or_never() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "30").await;
    let books = desk.database.books(12).await;
    for round in 0..20 {
        let name = format!("rw-{round}");
        let calls = (0..8).map(|number| {
            let (books, request) = (books.clone(), thirds(&name));
            async move {
                let done = if number == 5 {
                    books.reward_abandon(&request, HOLDER, "cancelled").await
                } else {
                    books.reward_distribute(&request, HOLDER).await
                };
                done.is_ok_and(|standing| standing.applied)
            }
        });
        assert_eq!(all_at_once(calls).await.into_iter().filter(|applied| *applied).count(), 1, "{name}");
    }
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rewards_and_payouts_of_the_same_users_never_wait_in_a_circle() {
    let mut desk = Desk::open().await;
    desk.fill_pool("d-1", "2").await;
    let processes = [desk.database.books(8).await, desk.database.books(8).await];
    let calls = (0..60).map(|number| {
        let books = processes[number % 2].clone();
        async move {
            let name = format!("x-{number}");
            match number % 3 {
                0 => drop(books.payout_open(&order(&name, "0.001")).await.unwrap()),
                1 => drop(
                    books.deposit_credit("binance", &name, Some("bob"), "BTC", "0.1".parse().unwrap()).await.unwrap(),
                ),
                _ => drop(
                    books
                        .reward_distribute(
                            &reward(&name, "0.01", &[("bob", "1"), ("alice", "2"), ("carol", "3")]),
                            HOLDER,
                        )
                        .await
                        .unwrap(),
                ),
            }
        }
    });
    all_at_once(calls).await;
    assert_eq!(desk.available(POOL).await, "1.8");
    desk.assert_sound().await;
}

#[tokio::test]
async fn damage_to_rewards_is_seen() {
    for (damage, says) in [
        ("UPDATE reward_allocations SET amount = amount + 0.00000001 WHERE owner = 'bob'", "is missing, or is another"),
        ("UPDATE reward_allocations SET amount = amount + 0.00000001 WHERE owner = 'bob'", "for 3 users and a fee of"),
        (
            "UPDATE reward_allocations SET amount = 0.325 - 0.00000001 * (CASE owner WHEN 'bob' THEN 1 ELSE -1 END)
           WHERE owner <> 'carol'",
            "gave bob",
        ),
        ("UPDATE reward_allocations SET share = 2 WHERE owner = 'bob'", "contradicts its content"),
        ("UPDATE rewards SET platform_fee = 0.02, allocated = 0.98", "and a fee of"),
        (
            "UPDATE rewards SET state = 'abandoned', platform_fee = NULL, allocated = NULL, account = NULL",
            "belongs to no business row",
        ),
        ("UPDATE rewards SET pool = 'season-2'", "contradicts its content"),
        ("DELETE FROM reward_allocations WHERE owner = 'bob'", "belongs to no business row"),
        ("DELETE FROM rewards", "belongs to no business row"),
        ("DELETE FROM entries WHERE kind = 'reward_fee'", "is missing, or is another"),
    ] {
        let mut desk = Desk::open().await;
        desk.fill_pool("d-1", "3").await;
        desk.distribute(&thirds("rw-1")).await.unwrap();
        desk.damage(damage).await;
        let deviations = books_checker::check(&mut desk.owner).await;
        assert!(deviations.iter().any(|text| text.contains(says)), "{damage}: not {says:?}, but {deviations:#?}");
    }
}
