//! Goal: the checker finds nothing in sound books, and something in books that anybody has tampered with.

use backstop_tests::books_checker;

use crate::desk::{Desk, SHORT, held, order, paid};

/// Books in which one of everything has happened.
async fn busy() -> Desk {
    let mut desk = Desk::open().await;
    let amount = "0.2".parse().unwrap();
    desk.books.payout_open(&order("opened", "0.1")).await.unwrap();
    desk.books.payout_abandon(&order("ended-early", "0.1"), "cancelled").await.unwrap();
    desk.books.payout_open(&order("abandoned", "0.1")).await.unwrap();
    desk.books.payout_abandon(&order("abandoned", "0.1"), "cancelled").await.unwrap();
    desk.attempted(&order("settled", "0.3"), SHORT).await;
    desk.settle(&order("settled", "0.3"), &paid("w-1", "0.29", "0.01")).await;
    desk.unsent(&order("returned", "0.1")).await;
    desk.books.payout_return(&held(&order("returned", "0.1")), "rejected", None).await.unwrap();
    desk.attempted(&order("waiting", "0.4"), SHORT).await;
    desk.books.payout_escalate(&held(&order("waiting", "0.4")), "no answer").await.unwrap();
    desk.books.deposit_credit("binance", "d-1", None, "BTC", amount).await.unwrap();
    desk.books.reservation_open("r-1", "w", "alice", "BTC", amount).await.unwrap();
    desk.books.reservation_open("r-2", "w", "alice", "BTC", amount).await.unwrap();
    desk.books.reservation_release("r-2", "w", "alice", "BTC", amount).await.unwrap();
    desk.books.reservation_release("r-3", "w", "alice", "BTC", amount).await.unwrap();
    desk.adjust("a-1", "bob", "-0.1").await.unwrap();
    desk.assert_sound().await;
    desk
}

/// Tampers with busy books, and expects a deviation that says this.
async fn assert_seen(damage: &'static str, says: &str) {
    let mut desk = busy().await;
    desk.damage(damage).await;
    let deviations = books_checker::check(&mut desk.owner).await;
    assert!(deviations.iter().any(|text| text.contains(says)), "{damage}: not {says:?}, but {deviations:#?}");
}

#[tokio::test]
async fn an_entry_that_was_changed_is_seen() {
    for (damage, says) in [
        (
            "UPDATE entries SET d_available = -7, d_transit = 7 WHERE key = 'refund/opened/open'",
            "is missing, or is another",
        ),
        ("UPDATE entries SET d_available = -1, d_transit = 1 WHERE key = 'refund/opened/open'", "breaks the chain"),
        ("UPDATE entries SET available_after = 7 WHERE key = 'refund/opened/open'", "leaves 7.0"),
        ("UPDATE entries SET at = at - interval '1 ms' WHERE key = 'refund/opened/open'", "breaks the chain"),
        ("UPDATE entries SET kind = 'payout_return' WHERE key = 'refund/opened/open'", "breaks the chain"),
        ("UPDATE entries SET counter = 'fees' WHERE key = 'deposit/binance/d-1'", "is missing, or is another"),
        ("UPDATE entries SET hash = '\\x00' WHERE key = 'refund/opened/open'", "breaks the chain"),
        ("UPDATE entries SET version = version + 100 WHERE key = 'refund/opened/open'", "by count"),
        ("UPDATE entries SET key = 'refund/other/open' WHERE key = 'refund/opened/open'", "belongs to no business row"),
    ] {
        assert_seen(damage, says).await;
    }
}

#[tokio::test]
async fn an_entry_that_was_removed_or_forged_is_seen() {
    for (damage, says) in [
        ("DELETE FROM entries WHERE key = 'refund/opened/open'", "is missing, or is another"),
        ("DELETE FROM entries WHERE key = 'adjustment/a-1'", "its last entry says"),
        ("DELETE FROM entries WHERE key = 'adjustment/a-1'", "is not the hash of its last entry"),
        ("DELETE FROM entries WHERE key = 'refund/settled/settle' AND line = 2", "in transit by its entries"),
        // A forger who keeps every sum and the whole chain right still has no business row to show.
        ("SELECT post('deposit/binance/forged', 1, 'deposit', 1, 'world', 5, 0, 0)", "belongs to no business row"),
        ("SELECT post('refund/opened/return', 1, 'payout_return', 1, NULL, 0.1, 0, -0.1)", "in transit by its entries"),
        (
            "SELECT post('refund/ended-early/open', 1, 'payout_open', 1, NULL, -0.1, 0, 0.1)",
            "belongs to no business row",
        ),
    ] {
        assert_seen(damage, says).await;
    }
}

#[tokio::test]
async fn a_balance_that_was_changed_is_seen() {
    for (damage, says) in [
        ("UPDATE accounts SET available = available + 1 WHERE owner = 'alice' AND asset = 'BTC'", "its entries sum to"),
        (
            "UPDATE accounts SET locked = locked + 1 WHERE owner = 'alice' AND asset = 'BTC'",
            "its open reservations hold",
        ),
        ("UPDATE accounts SET available = available + 1 WHERE owner = 'bob' AND asset = 'BTC'", "the other sides gave"),
        ("UPDATE accounts SET version = version + 1 WHERE owner = 'bob' AND asset = 'BTC'", "its last entry says"),
        (
            "UPDATE accounts SET head = '\\x00' WHERE owner = 'bob' AND asset = 'BTC'",
            "is not the hash of its last entry",
        ),
        (
            "ALTER TABLE accounts DROP CONSTRAINT accounts_available_check;
             UPDATE accounts SET available = -1 WHERE owner = 'bob' AND asset = 'BTC'",
            "is negative",
        ),
    ] {
        assert_seen(damage, says).await;
    }
}

#[tokio::test]
async fn a_business_row_that_was_changed_is_seen() {
    for (damage, says) in [
        (
            "UPDATE payouts SET state = 'returned', in_transit = 0 WHERE payout_id = 'refund/waiting'",
            "entry refund/waiting/return/1 is missing",
        ),
        (
            "UPDATE payouts SET state = 'attempted', in_transit = amount, network_fee = NULL
              WHERE payout_id = 'refund/settled'",
            "belongs to no business row",
        ),
        ("UPDATE payouts SET network_fee = 0.02 WHERE payout_id = 'refund/settled'", "is missing, or is another"),
        ("UPDATE payouts SET amount = 1 WHERE payout_id = 'refund/settled'", "contradicts its content"),
        (
            "UPDATE payouts SET account = 1, opened_at = created_at WHERE payout_id = 'refund/ended-early'",
            "is missing, or is another",
        ),
        ("DELETE FROM payouts WHERE payout_id = 'refund/opened'", "in transit by its entries"),
        ("DELETE FROM payout_attempts WHERE payout_id = 'refund/settled'", "after 0 attempts"),
        (
            "INSERT INTO payout_attempts (payout_id, attempt, signed_at, deadline, void_after)
             SELECT payout_id, 2, signed_at, deadline, void_after FROM payout_attempts WHERE payout_id = 'refund/waiting'",
            "2 of them live",
        ),
        ("DELETE FROM deposits WHERE deposit_id = 'd-1'", "belongs to no business row"),
        ("UPDATE deposits SET amount = 7 WHERE deposit_id = 'd-1'", "contradicts its content"),
        ("UPDATE reservations SET state = 'released', remaining = 0 WHERE reservation_id = 'r-1'", "reservations hold"),
        ("UPDATE reservations SET account = 1 WHERE reservation_id = 'r-3'", "is missing, or is another"),
        ("DELETE FROM adjustments", "belongs to no business row"),
        ("DELETE FROM operator_acts", "on the record"),
    ] {
        assert_seen(damage, says).await;
    }
}
