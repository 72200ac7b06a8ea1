//! Goal: whoever tampers with withdrawals, fundings, orders or pauses is seen by the checker.

use backstop_tests::books_checker;

use crate::{
    desk::{Desk, HOLDER, held},
    stock::{decision, fund, pause, sell, withdrawal},
};

/// Books in which something of everything is under way or over.
async fn busy() -> Desk {
    let mut desk = Desk::trading().await;
    desk.adjust("a-1", "alice", "5").await.unwrap();
    for (name, approve) in [("approved", true), ("rejected", false)] {
        let order = withdrawal(name, "0.6");
        desk.books.withdrawal_request(&order).await.unwrap();
        desk.books.withdrawal_decide(&held(&order), approve, &decision("ann")).await.unwrap();
    }
    desk.books.withdrawal_claim(&held(&withdrawal("approved", "0.6"))).await.unwrap();
    desk.observe("d-5", "0.1", "BTC", "o-2").await;
    desk.observe("d-9", "0.1", "BTC", "nobodys").await;
    for order in ["o-1", "o-2", "o-3"] {
        desk.books.funding_open(&fund(order), HOLDER).await.unwrap();
    }
    desk.observe("d-1", "0.6", "BTC", "o-1").await;
    desk.observe("d-2", "3", "ETH", "o-1").await;
    desk.observe("d-3", "0.1", "BTC", "o-3").await;
    desk.books.funding_expire("o-3", HOLDER, "too late").await.unwrap();
    desk.books.funding_open(&fund("o-4"), HOLDER).await.unwrap();
    desk.observe("d-6", "0.5", "BTC", "o-4").await;
    desk.observe("d-7", "20000", "USDT", "o-4").await;
    desk.books.funding_release("o-4", "olga", "to trade").await.unwrap();
    for (order, legs) in [("placed", ("0.04", "1200")), ("beyond", ("0.2", "6000"))] {
        desk.placed(&sell(order)).await;
        desk.fill(order, "1", legs, ("1", "USDT")).await;
    }
    desk.books.order_end("beyond", "0.2", "Filled").await.unwrap();
    desk.start("mm-2").await.unwrap();
    desk.stop("mm-2").await.unwrap();
    desk.books.pause_open(&pause("p-1", "mm-2"), HOLDER).await.unwrap();
    desk.books.pause_drained("p-1", HOLDER).await.unwrap();
    desk.assert_sound().await;
    desk
}

async fn assert_seen(cases: &[(&'static str, &str)]) {
    for (damage, says) in cases {
        let mut desk = busy().await;
        desk.damage(damage).await;
        let deviations = books_checker::check(&mut desk.owner).await;
        assert!(deviations.iter().any(|text| text.contains(says)), "{damage}: not {says:?}, but {deviations:#?}");
    }
}

#[tokio::test]
async fn a_fill_that_was_changed_is_seen() {
    assert_seen(&[
        ("UPDATE fills SET credited = credited + 1 WHERE order_id = 'beyond'", "of order beyond gave"),
        ("UPDATE fills SET reserved = 0.2 WHERE order_id = 'beyond'", "of order beyond gave"),
        ("UPDATE fills SET base = 0.05 WHERE order_id = 'placed'", "of order placed gave"),
        ("UPDATE fills SET fee = 2 WHERE order_id = 'placed'", "is missing, or is another"),
        ("UPDATE fills SET fee_asset = 'BNB' WHERE order_id = 'placed'", "belongs to no business row"),
        ("UPDATE fills SET fee_asset = 'BNB' WHERE order_id = 'placed'", "of which the house paid 0"),
        ("UPDATE fills SET house_fee = 1 WHERE order_id = 'placed'", "of which the house paid 1"),
        ("DELETE FROM fills WHERE order_id = 'placed'", "belongs to no business row"),
        (
            "INSERT INTO fills SELECT order_id, '2', base, quote, fee, fee_asset, reserved, credited, house_fee, at FROM fills
              WHERE order_id = 'placed'",
            "is missing, or is another",
        ),
    ])
    .await;
}

#[tokio::test]
async fn an_order_that_was_changed_is_seen() {
    assert_seen(&[
        ("UPDATE orders SET executed = 0.1 WHERE order_id = 'beyond'", "ended with 0.1"),
        ("UPDATE orders SET state = 'ended', executed = 0.04 WHERE order_id = 'placed'", "its reservation is open"),
        ("UPDATE orders SET owner = 'bob' WHERE order_id = 'placed'", "contradicts its content"),
        ("UPDATE orders SET quantity = 5 WHERE order_id = 'placed'", "contradicts its content"),
        ("UPDATE orders SET venue_order_id = NULL WHERE order_id = 'placed'", "placed as"),
        ("UPDATE reservations SET holder = 'me' WHERE reservation_id = 'order/placed'", "contradicts its content"),
        ("UPDATE reservations SET remaining = 0.01 WHERE reservation_id = 'order/placed'", "reservations hold"),
        ("UPDATE reservations SET strategy_key = NULL WHERE reservation_id = 'order/placed'", "its reservation"),
    ])
    .await;
}

#[tokio::test]
async fn a_funding_that_was_changed_is_seen() {
    assert_seen(&[
        ("DELETE FROM funding_parts WHERE deposit_id = 'd-2'", "was not decided on"),
        ("UPDATE funding_parts SET amount = 0.2 WHERE deposit_id = 'd-1' AND part = 'refund'", "was decided on for"),
        ("UPDATE funding_parts SET state = 'kept' WHERE deposit_id = 'd-1' AND part = 'refund'", "is kept"),
        ("UPDATE funding_parts SET state = 'refunding' WHERE deposit_id = 'd-2'", "is refunding"),
        (
            "UPDATE funding_parts SET state = 'reserved' WHERE deposit_id = 'd-3'",
            "an order that is expired is reserved",
        ),
        ("UPDATE funding_needs SET reserved = 0 WHERE order_id = 'o-1'", "order o-1 is awaiting with 0"),
        ("UPDATE fundings SET state = 'funded' WHERE order_id = 'o-1'", "order o-1 is funded with"),
        ("UPDATE fundings SET state = 'funded' WHERE order_id = 'o-4'", "order o-4 is funded with"),
        (
            "UPDATE funding_parts SET state = 'reserved' WHERE deposit_id = 'd-6'",
            "an order that is released is reserved",
        ),
        ("DELETE FROM operator_acts WHERE act = 'release order'", "order o-4 was released, and nobody has done it"),
        ("UPDATE fundings SET owner = 'bob' WHERE order_id = 'o-1'", "somebody else"),
        (
            "INSERT INTO payouts (payout_id, kind, holder, content, input, owner, asset, amount, network, address,
                                  client_id, state, in_transit)
             VALUES ('refund/deposit/binance/d-1/refund', 'refund', 'w',
                     '{\"user_id\": \"carol\", \"asset_id\": \"BTC\", \"amount\": \"0.1\"}', '{}', 'carol', 'BTC', 0.1,
                     'BTC', 'x', 'c', 'abandoned', 0)",
            "its refund abandoned",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_deposit_in_suspense_that_was_changed_is_seen() {
    assert_seen(&[
        (
            "UPDATE deposits SET state = 'credited', suspended_for = NULL WHERE deposit_id = 'd-9'",
            "contradicts its content",
        ),
        ("UPDATE deposits SET claimed_by = 1 WHERE deposit_id = 'd-5'", "is missing, or is another"),
        (
            "UPDATE deposits SET state = 'suspended', claimed_by = NULL WHERE deposit_id = 'd-5'",
            "belongs to no business row",
        ),
        ("DELETE FROM findings WHERE kind = 'deposit_without_owner' AND state = 'open'", "no finding says so"),
    ])
    .await;
}

#[tokio::test]
async fn a_decision_or_a_pause_that_was_changed_is_seen() {
    assert_seen(&[
        ("UPDATE payouts SET decided_by = 'ben' WHERE payout_id = 'withdrawal/approved'", "decided by ben"),
        ("UPDATE payouts SET requested_by = 'me', decided_by = 'you' WHERE payout_id = 'withdrawal/rejected'", "by you"),
        (
            "UPDATE payouts SET decided_by = NULL, decided_at = NULL WHERE payout_id = 'withdrawal/approved'",
            "needs an approval",
        ),
        ("DELETE FROM operator_acts WHERE act = 'approve withdrawal'", "decided by ann"),
        ("UPDATE strategies SET status = 'running' WHERE strategy_key = 'mm-2'", "open ends"),
        (
            "DROP INDEX pauses_active;
             INSERT INTO pauses SELECT 'p-2', holder, content, input, strategy_key, 'draining', reason, version, changed_at
               FROM pauses",
            "2 operations on strategy mm-2",
        ),
    ])
    .await;
}
