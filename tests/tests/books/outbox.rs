//! Goal: every transition of a business row is announced once, in its own commit, and a refused one never.

use backstop_activities::books::{BooksError, once};
use backstop_domain::Verdict;

use crate::{
    desk::{ASKED_NOW, Desk, HOLDER, LONG, SHORT, held, order, paid, refusal, word},
    stock::fund,
};

#[tokio::test]
async fn every_transition_is_announced_once_in_order() {
    let mut desk = Desk::open().await;
    let (r, amount) = (order("r", "0.5"), "0.1".parse().unwrap());
    desk.unsent(&r).await;
    desk.books.payout_attempt(&held(&r), SHORT, SHORT).await.unwrap();
    desk.books.payout_escalate(&held(&r), "no answer").await.unwrap();
    desk.past_every_attempt().await;
    desk.books.payout_resolve(&held(&r), &word(Verdict::Executed), ASKED_NOW).await.unwrap();
    desk.books.payout_resolve(&held(&r), &word(Verdict::Executed), ASKED_NOW).await.unwrap();
    desk.books.payout_abandon(&order("early", "0.5"), "cancelled").await.unwrap();
    desk.books.payout_abandon(&order("early", "0.5"), "cancelled").await.unwrap();
    desk.books.reservation_open("r-1", "w", "alice", "BTC", amount).await.unwrap();
    desk.books.reservation_release("r-1", "w", "alice", "BTC", amount).await.unwrap();
    desk.books.reservation_release("r-2", "w", "alice", "BTC", amount).await.unwrap();
    desk.books.deposit_credit("binance", "d-1", Some("bob"), "BTC", amount).await.unwrap();
    desk.adjust("a-1", "bob", "1").await.unwrap();
    let expected = [
        "refund/r payout.opened",
        "refund/r payout.attempted",
        "refund/r payout.attempted",
        "refund/r payout.needs_operator",
        "refund/r payout.settled",
        "refund/early payout.abandoned",
        "reservation/r-1 reservation.opened",
        "reservation/r-1 reservation.released",
        "reservation/r-2 reservation.abandoned",
        "deposit/binance/d-1 deposit.credited",
        "adjustment/a-1 adjustment.posted",
    ];
    assert_eq!(desk.announced().await, expected);
}

#[tokio::test]
async fn an_announcement_commits_with_its_entry() {
    let mut desk = Desk::open().await;
    let r = order("r", "0.5");
    desk.attempted(&r, LONG).await;
    desk.settle(&r, &paid("w-1", "0.5", "0")).await;
    let sql = "SELECT o.kind FROM outbox AS o JOIN entries AS e ON e.xid = o.xid
                WHERE o.aggregate = 'refund/r' AND e.key LIKE 'refund/r/%' ORDER BY o.id";
    assert_eq!(desk.texts(sql).await, ["payout.opened", "payout.settled"]);
}

#[tokio::test]
async fn a_refused_transition_is_never_announced() {
    let mut desk = Desk::open().await;
    refusal(desk.books.payout_open(&order("r", "3")).await);
    refusal(desk.books.payout_attempt(&held(&order("r", "3")), LONG, LONG).await);
    refusal(desk.books.reservation_open("r-1", "w", "alice", "BTC", "3".parse().unwrap()).await);
    refusal(desk.books.deposit_credit("binance", "d-1", None, "DOGE", "3".parse().unwrap()).await);
    refusal(desk.adjust("a-1", "alice", "-3").await);
    assert_eq!(desk.announced().await, Vec::<String>::new());
}

/// The order of an aggregate's events is that of their commits: whoever announces holds the aggregate's row until then.
#[tokio::test]
async fn an_orders_event_waits_for_the_commit_of_the_one_before() {
    let mut desk = Desk::open().await;
    desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap();
    desk.observe("d-1", "1", "ETH", "o-1").await;
    let kept = "SELECT funding_keep_refused('o-1', 'deposit/binance/d-1/refund', 'refused')";
    let abandoned =
        "SELECT payout_abandon('refund/deposit/binance/d-1/refund', 'refund', 'w', '{}', '{}', 'c', 'carol', NULL,
                                           'ETH', 1, 'ETH', 'a', NULL, 'enough')";
    for first in [kept, abandoned] {
        sqlx::raw_sql("BEGIN").execute(&mut desk.owner).await.unwrap();
        sqlx::query(first).execute(&mut desk.owner).await.unwrap();
        assert!(desk.announced().await.contains(&"funding/o-1 deposit.kept".to_owned()));
        let mut other = desk.database.owner().await;
        sqlx::raw_sql("SET lock_timeout = '100ms'").execute(&mut other).await.unwrap();
        let second = sqlx::query("SELECT deposit_observe('binance', 'd-2', 'BTC', 'BTC', 0.75, 'o-1')");
        let error = second.execute(&mut other).await.expect_err("it overtakes the one before");
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "55P03", "{error}");
        sqlx::raw_sql("ROLLBACK").execute(&mut desk.owner).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_comes_once_for_each_consumer_and_not_at_all_when_it_was_rolled_back() {
    let desk = Desk::open().await;
    let pool = desk.books.pool();
    let mut transaction = pool.begin().await.unwrap();
    assert!(once(&mut transaction, "mail", "outbox/1").await.unwrap());
    assert!(!once(&mut transaction, "mail", "outbox/1").await.unwrap());
    assert!(once(&mut transaction, "ledger", "outbox/1").await.unwrap());
    transaction.rollback().await.unwrap();

    let mut first = pool.begin().await.unwrap();
    assert!(once(&mut first, "mail", "outbox/1").await.unwrap());
    // Who comes second hears nothing before the first has committed.
    let mut second = desk.database.worker().await;
    sqlx::raw_sql("BEGIN; SET LOCAL lock_timeout = '100ms'").execute(&mut second).await.unwrap();
    assert!(matches!(once(&mut second, "mail", "outbox/1").await, Err(BooksError::Unavailable(_))));
    sqlx::raw_sql("ROLLBACK").execute(&mut second).await.unwrap();
    first.commit().await.unwrap();
    assert!(!once(&mut second, "mail", "outbox/1").await.unwrap());
    for (consumer, key, field) in [("", "outbox/1", "consumer"), ("mail", "", "key")] {
        assert_eq!(refusal(once(&mut second, consumer, key).await).detail["field"], field);
    }
}
