//! Goal: every transition of a business row is announced once, in its own commit, and a refused one never.

use backstop_domain::Verdict;

use crate::desk::{ASKED_NOW, Desk, LONG, SHORT, held, order, paid, refusal, word};

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
