//! Goal: an order takes what was set aside for it, once and to the last unit, and gives the rest back only when it is over.

use std::time::Duration;

use backstop_activities::books::PlacedOrder;
use backstop_domain::RefusalKind;

use crate::{
    desk::{ASKED_NOW, Desk, HOLDER, LONG, SHORT, assert_refused, refusal},
    stock::{STRATEGY, buy, sell},
};

const NO_FEE: (&str, &str) = ("0", "BNB");

#[tokio::test]
async fn an_order_sets_aside_what_it_may_take_and_no_more_than_there_is() {
    let mut desk = Desk::trading().await;
    assert!(desk.books.order_open(&sell("o-1")).await.unwrap());
    assert!(!desk.books.order_open(&sell("o-1")).await.unwrap());
    assert!(desk.books.order_open(&buy("o-2")).await.unwrap());
    assert_eq!(
        (desk.has("alice", "BTC").await, desk.has("alice", "USDT").await),
        ("1.9 + 0.1".into(), "7000 + 3000".into())
    );
    let before = desk.everything().await;
    let large = PlacedOrder { quantity: "2", ..sell("o-3") };
    assert_refused(desk.books.order_open(&large).await, RefusalKind::InsufficientFunds, "available", "1.9");
    let dear = PlacedOrder { price: "30001", ..sell("o-1") };
    assert_refused(desk.books.order_open(&dear).await, RefusalKind::Conflict, "field", "price");
    let others = PlacedOrder { holder: "workflow-2", ..sell("o-1") };
    assert_refused(desk.books.order_open(&others).await, RefusalKind::Held, "holder", HOLDER);
    for (wrong, field) in [
        (PlacedOrder { order_id: "o 3", ..sell("") }, "order_id"),
        (PlacedOrder { side: "short", ..sell("o-3") }, "side"),
        (PlacedOrder { price: "0", ..sell("o-3") }, "price"),
        (PlacedOrder { quantity: "-1", ..sell("o-3") }, "quantity"),
        (PlacedOrder { quantity: "0.000000001", ..sell("o-3") }, "amount"),
    ] {
        assert_refused(desk.books.order_open(&wrong).await, RefusalKind::InvalidInput, "field", field);
    }
    assert_eq!(desk.everything().await, before);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_buy_sets_aside_enough_when_its_price_is_finer_than_what_it_pays_in() {
    let mut desk = Desk::trading().await;
    // 3.703714814... USDT, which has six places.
    let order = PlacedOrder { price: "30000.12", quantity: "0.00012345", ..buy("o-1") };
    desk.placed(&order).await;
    assert_eq!(desk.has("alice", "USDT").await, "9996.296485 + 3.703515");
    desk.fill("o-1", "1", ("0.00012345", "3.703514814"), NO_FEE).await;
    desk.books.order_end("o-1", "0.00012345", "Filled").await.unwrap();
    assert_eq!(desk.has("alice", "USDT").await, "9996.296485186 + 0");
    assert_eq!(desk.findings().await, Vec::<String>::new().as_slice(), "something did not fit");
    desk.assert_sound().await;
}

#[tokio::test]
async fn partial_fills_spend_the_reservation_and_a_better_price_is_given_back_at_the_end() {
    let mut desk = Desk::trading().await;
    desk.placed(&buy("o-1")).await;
    assert!(desk.fill("o-1", "1", ("0.04", "1196"), ("0.00004", "BTC")).await);
    assert_eq!(desk.has("alice", "USDT").await, "7000 + 1804");
    assert!(desk.fill("o-1", "2", ("0.06", "1790"), ("0.00006", "BTC")).await);
    assert_eq!(desk.has("alice", "USDT").await, "7000 + 14");
    assert_eq!(desk.has("alice", "BTC").await, "2.0999 + 0");
    assert!(desk.books.order_end("o-1", "0.1", "Filled").await.unwrap());
    assert_eq!(desk.has("alice", "USDT").await, "7014 + 0");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_fill_is_booked_once_for_its_order_and_another_record_of_it_is_seen() {
    let mut desk = Desk::trading().await;
    for order in ["o-1", "o-2"] {
        desk.placed(&sell(order)).await;
        // The venue's trade between two orders of ours has one id.
        assert!(desk.fill(order, "7", ("0.1", "3000"), ("3", "USDT")).await);
        assert!(!desk.fill(order, "7", ("0.1", "3000"), ("3", "USDT")).await);
    }
    assert_eq!(
        (desk.has("alice", "BTC").await, desk.has("alice", "USDT").await),
        ("1.8 + 0".into(), "15994 + 0".into())
    );
    assert!(!desk.fill("o-1", "7", ("0.1", "3001"), ("3", "USDT")).await);
    assert_eq!(desk.findings().await, ["fill_differs fill/o-1/7"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_is_executed_beyond_the_reservation_leaves_its_proceeds_in_suspense() {
    let mut desk = Desk::trading().await;
    desk.placed(&sell("o-1")).await;
    assert!(desk.fill("o-1", "1", ("0.08", "2400"), NO_FEE).await);
    // 0.02 were left: half of what this fill gave is nobody's, and so is half of what came in.
    assert!(desk.fill("o-1", "2", ("0.04", "1200"), ("1", "USDT")).await);
    assert_eq!(
        (desk.has("alice", "BTC").await, desk.has("alice", "USDT").await),
        ("1.9 + 0".into(), "12999 + 0".into())
    );
    assert_eq!(desk.has("~suspense", "USDT").await, "600 + 0");
    // The market has all that was given: what she had not set aside was the house's.
    assert_eq!(
        desk.counters().await,
        ["house:binance BTC -0.02", "market:binance BTC 0.12", "market:binance USDT -3600"]
    );
    assert_eq!(desk.findings().await, ["fill_beyond_reservation order/o-1"]);
    assert!(desk.books.order_end("o-1", "0.12", "Filled").await.unwrap());
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_fee_is_taken_from_what_came_in_and_otherwise_from_the_house() {
    let mut desk = Desk::trading().await;
    for (order, fee, has, house) in [
        ("in-quote", ("3", "USDT"), "12997 + 0", vec![]),
        ("in-base", ("0.0001", "BTC"), "15997 + 0", vec!["fees BTC 0.0001", "house:binance BTC -0.0001"]),
        ("in-third", ("0.01", "BNB"), "18997 + 0", vec!["fees BNB 0.01", "house:binance BNB -0.01"]),
        ("rebate", ("-2", "USDT"), "21999 + 0", vec![]),
        ("third-rebate", ("-0.02", "BNB"), "24999 + 0", vec!["fees BNB -0.02", "house:binance BNB 0.02"]),
    ] {
        desk.placed(&sell(order)).await;
        desk.fill(order, "1", ("0.1", "3000"), fee).await;
        assert!(!desk.fill(order, "1", ("0.1", "3000"), fee).await, "{order} twice");
        assert_eq!(desk.has("alice", "USDT").await, has, "{order}");
        assert_eq!(desk.house_fee(order).await, house, "{order}");
        desk.books.order_end(order, "0.1", "Filled").await.unwrap();
    }
    // It passed through her account of that asset, and left nothing there.
    assert_eq!(desk.has("alice", "BNB").await, "0 + 0");
    assert_eq!(desk.findings().await, Vec::<String>::new());
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_fee_that_can_not_be_booked_as_usual_is_seen_and_its_fill_booked() {
    let mut desk = Desk::trading().await;
    desk.placed(&sell("too-much")).await;
    assert!(desk.fill("too-much", "1", ("0.1", "3000"), ("4000", "USDT")).await);
    assert_eq!(desk.house_fee("too-much").await, ["fees USDT 1000", "house:binance USDT -1000"]);
    desk.placed(&sell("unknown")).await;
    assert!(desk.fill("unknown", "1", ("0.04", "1200"), ("7", "XYZ")).await);
    assert!(desk.fill("unknown", "2", ("0.06", "1800"), ("8", "XYZ")).await);
    assert!(!desk.fill("unknown", "2", ("0.06", "1800"), ("8", "XYZ")).await);
    assert_eq!(desk.house_fee("unknown").await, Vec::<String>::new());
    assert_eq!(desk.has("alice", "USDT").await, "13000 + 0");
    // Each keeps its own evidence.
    let found = [
        "fee_beyond_proceeds fill/too-much/1",
        "fee_in_unknown_asset fill/unknown/1",
        "fee_in_unknown_asset fill/unknown/2",
    ];
    assert_eq!(desk.findings().await, found);
    // Even should somebody get to know it: what was not booked stays a finding.
    sqlx::query("INSERT INTO assets (asset, decimals) VALUES ('XYZ', 8)").execute(&mut desk.owner).await.unwrap();
    assert!(!desk.fill("unknown", "1", ("0.04", "1200"), ("7", "XYZ")).await);
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_order_does_not_end_before_all_that_was_executed_is_booked() {
    let mut desk = Desk::trading().await;
    desk.placed(&sell("o-1")).await;
    desk.fill("o-1", "1", ("0.04", "1200"), NO_FEE).await;
    let before = desk.everything().await;
    for executed in ["0.05", "0.03", "0"] {
        let ended = desk.books.order_end("o-1", executed, "Cancelled").await;
        assert_refused(ended, RefusalKind::NotAllowed, "booked", "0.04");
    }
    assert_eq!(desk.everything().await, before);
    assert!(desk.books.order_end("o-1", "0.04", "Cancelled").await.unwrap());
    assert!(!desk.books.order_end("o-1", "0.04", "Cancelled").await.unwrap());
    assert_eq!(desk.has("alice", "BTC").await, "1.96 + 0");
    // A fill that shows after the end is a fact, too.
    assert!(desk.fill("o-1", "2", ("0.01", "300"), NO_FEE).await);
    assert_eq!(desk.has("~suspense", "USDT").await, "300 + 0");
    let found = ["fill_not_expected order/o-1", "fill_beyond_reservation order/o-1"];
    assert_eq!(desk.findings().await, found);
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_order_is_sent_at_most_once_and_never_for_a_frozen_account() {
    let mut desk = Desk::trading().await;
    desk.books.order_open(&sell("o-1")).await.unwrap();
    desk.freeze("alice", "finding 1").await;
    let frozen = desk.books.order_attempt("o-1", HOLDER, SHORT, LONG).await;
    assert_refused(frozen, RefusalKind::Frozen, "frozen_by", "finding 1");
    desk.unfreeze("alice").await;
    let other = desk.books.order_attempt("o-1", "workflow-2", SHORT, LONG).await;
    assert_refused(other, RefusalKind::Held, "holder", HOLDER);
    desk.books.order_attempt("o-1", HOLDER, SHORT, LONG).await.unwrap();
    let twice = desk.books.order_attempt("o-1", HOLDER, SHORT, LONG).await;
    assert_refused(twice, RefusalKind::InDoubt, "outcome", "attempted");
    let undone = desk.books.order_abandon(&sell("o-1"), "cancelled").await;
    assert_refused(undone, RefusalKind::TooLate, "state", "attempted");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_undo_that_overtook_its_order_keeps_it_out_for_ever() {
    let mut desk = Desk::trading().await;
    for order in [sell("o-1"), PlacedOrder { strategy_key: "mm-9", ..sell("o-2") }] {
        assert!(desk.books.order_abandon(&order, "cancelled").await.unwrap());
        assert!(!desk.books.order_abandon(&order, "cancelled").await.unwrap());
        assert_refused(desk.books.order_open(&order).await, RefusalKind::Abandoned, "reason", "cancelled");
    }
    assert_eq!(desk.has("alice", "BTC").await, "2 + 0");
    desk.assert_sound().await;
}

#[tokio::test]
async fn nothing_is_sent_after_a_stop_was_committed() {
    let mut desk = Desk::trading().await;
    desk.books.order_open(&sell("o-1")).await.unwrap();
    // A stop waits for the attempt that is under way.
    let one = desk.database.books(1).await;
    sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
    one.order_attempt("o-1", HOLDER, SHORT, LONG).await.unwrap();
    let stop = tokio::spawn({
        let books = desk.books.clone();
        async move { books.strategy_stop(STRATEGY, "olga", "enough").await.unwrap() }
    });
    desk.until_waiting(1).await;
    sqlx::query("COMMIT").execute(one.pool()).await.unwrap();
    assert!(stop.await.unwrap());
    desk.start(STRATEGY).await.unwrap();
    desk.books.order_open(&sell("o-2")).await.unwrap();
    // And an attempt waits for the stop that is under way, and is refused.
    sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
    one.strategy_stop(STRATEGY, "olga", "enough").await.unwrap();
    let attempt = tokio::spawn({
        let books = desk.books.clone();
        async move { books.order_attempt("o-2", HOLDER, SHORT, LONG).await }
    });
    desk.until_waiting(1).await;
    sqlx::query("COMMIT").execute(one.pool()).await.unwrap();
    assert_refused(attempt.await.unwrap(), RefusalKind::NotAllowed, "state", "stopped");
    assert_refused(desk.books.order_open(&sell("o-3")).await, RefusalKind::NotAllowed, "state", "stopped");
    assert_eq!(desk.order_state("o-2").await, "opened");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_order_is_void_by_a_refusal_or_by_absence_past_its_time_and_never_when_it_has_traded() {
    let mut desk = Desk::trading().await;
    desk.sent(&sell("late")).await;
    assert!(!desk.books.order_void("late", ASKED_NOW, false, "not found").await.unwrap());
    assert_eq!(desk.has("alice", "BTC").await, "1.9 + 0.1");
    assert!(desk.books.order_void("late", 0, true, "refused").await.unwrap());
    assert_eq!(desk.has("alice", "BTC").await, "2 + 0");
    desk.books.order_open(&sell("over")).await.unwrap();
    let signed_at = desk.books.order_attempt("over", HOLDER, SHORT, SHORT).await.unwrap().granted().unwrap();
    assert!(!desk.books.order_void("over", signed_at, false, "asked too early").await.unwrap());
    desk.until_ms(signed_at + 3).await;
    assert!(desk.books.order_void("over", ASKED_NOW, false, "not found").await.unwrap());
    desk.sent(&sell("traded")).await;
    desk.fill("traded", "1", ("0.1", "3000"), NO_FEE).await;
    assert!(!desk.books.order_void("traded", ASKED_NOW, true, "refused").await.unwrap());
    // What turns up at the venue after all moves nothing, and is seen.
    assert!(!desk.books.order_place("late", "v-9").await.unwrap());
    assert!(!desk.books.order_end("late", "0.1", "Filled").await.unwrap());
    let found = ["order_placed_after_void order/late", "order_end_not_expected order/late"];
    assert_eq!(desk.findings().await, found);
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_order_that_the_venue_has_without_an_attempt_is_taken_down_as_placed_and_can_end() {
    let mut desk = Desk::trading().await;
    desk.books.order_open(&sell("o-1")).await.unwrap();
    assert!(desk.books.order_place("o-1", "v-1").await.unwrap());
    assert_eq!(desk.order_state("o-1").await, "placed");
    assert_eq!(desk.findings().await, ["order_placed_without_attempt order/o-1"]);
    // It may have taken effect: nobody sends it any more, or takes it back.
    let again = desk.books.order_attempt("o-1", HOLDER, SHORT, LONG).await;
    assert_refused(again, RefusalKind::InDoubt, "outcome", "placed");
    assert_eq!(refusal(desk.books.order_abandon(&sell("o-1"), "cancelled").await).kind, RefusalKind::TooLate);
    assert!(!desk.books.order_place("o-1", "v-1").await.unwrap());
    assert!(desk.fill("o-1", "1", ("0.04", "1200"), NO_FEE).await);
    assert!(desk.books.order_end("o-1", "0.04", "Canceled").await.unwrap());
    assert_eq!(
        (desk.has("alice", "BTC").await, desk.has("alice", "USDT").await),
        ("1.96 + 0".into(), "11200 + 0".into())
    );
    assert_eq!(desk.findings().await.len(), 1);
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_unsent_order_is_given_up_once_its_strategy_is_stopped_and_no_lost_attempt_can_show_any_more() {
    let mut desk = Desk::trading().await;
    desk.books.order_open(&sell("o-1")).await.unwrap();
    desk.sent(&sell("sent")).await;
    let give_up = async |desk: &Desk, order: &str, looked_at_ms: i64, visibility: Duration| {
        desk.books.order_give_up(order, looked_at_ms, SHORT, visibility).await.unwrap()
    };
    let opened = desk.now_ms().await;
    desk.until_ms(opened + 3).await;
    assert!(!give_up(&desk, "o-1", ASKED_NOW, SHORT).await, "its strategy runs");
    let running = desk.now_ms().await;
    desk.stop(STRATEGY).await.unwrap();
    let stopped = desk.now_ms().await;
    assert!(!give_up(&desk, "o-1", ASKED_NOW, LONG).await, "an attempt that was lost may still show");
    desk.until_ms(stopped + 3).await;
    assert!(!give_up(&desk, "o-1", running, SHORT).await, "the lookup began before the strategy was stopped");
    assert_eq!(
        (desk.order_state("o-1").await.as_str(), desk.has("alice", "BTC").await.as_str()),
        ("opened", "1.8 + 0.2")
    );
    assert!(give_up(&desk, "o-1", ASKED_NOW, SHORT).await);
    let before = desk.everything().await;
    assert!(give_up(&desk, "o-1", ASKED_NOW, SHORT).await, "it is still abandoned");
    assert!(!give_up(&desk, "sent", ASKED_NOW, SHORT).await, "it was attempted");
    assert_refused(
        desk.books.order_attempt("o-1", HOLDER, SHORT, LONG).await,
        RefusalKind::Abandoned,
        "subject",
        "order/o-1",
    );
    assert!(!desk.books.order_abandon(&sell("o-1"), "its holder, late").await.unwrap());
    assert_eq!(desk.everything().await, before);
    assert_eq!(desk.has("alice", "BTC").await, "1.9 + 0.1");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_order_that_has_traded_is_not_given_up() {
    let mut desk = Desk::trading().await;
    desk.books.order_open(&sell("o-1")).await.unwrap();
    desk.stop(STRATEGY).await.unwrap();
    desk.fill("o-1", "1", ("0.04", "1200"), NO_FEE).await;
    let now = desk.now_ms().await;
    desk.until_ms(now + 3).await;
    assert!(!desk.books.order_give_up("o-1", ASKED_NOW, SHORT, SHORT).await.unwrap());
    assert_eq!(desk.order_state("o-1").await, "opened");
    desk.assert_sound().await;
}

#[tokio::test]
async fn the_reservation_of_an_order_is_its_own() {
    let mut desk = Desk::trading().await;
    desk.placed(&sell("o-1")).await;
    let before = desk.everything().await;
    let amount = "0.1".parse().unwrap();
    for id in ["order/o-1", "order/o-2", "deposit/binance/d-1/refund"] {
        let opened = desk.books.reservation_open(id, HOLDER, "alice", "BTC", amount).await;
        assert_refused(opened, RefusalKind::InvalidInput, "field", "reservation_id");
        let released = desk.books.reservation_release(id, HOLDER, "alice", "BTC", amount).await;
        assert_eq!(refusal(released).kind, RefusalKind::InvalidInput);
    }
    assert_eq!(desk.everything().await, before);
}

/// The venue does not give out its record any more: an operator decides, not before its time is over, and on the record.
#[tokio::test]
async fn an_order_in_doubt_takes_an_operators_word() {
    let mut desk = Desk::trading().await;
    let resolve = "SELECT order_resolve($1, $2, $3, 'ticket 9')";
    let word = async |desk: &mut Desk, order: &str, executed: Option<&str>, by: &str| {
        let query = sqlx::query_scalar::<_, bool>(resolve).bind(order).bind(executed).bind(by);
        let answer = query.fetch_one(&mut desk.owner).await;
        answer.map_err(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
    };
    desk.sent(&sell("young")).await;
    assert_eq!(word(&mut desk, "young", None, "olga").await, Err("BS011".to_owned()));
    assert_eq!(word(&mut desk, "young", None, "").await, Err("BS001".to_owned()));
    for (order, executed, state) in [("absent", None, "void"), ("there", Some("v-1"), "placed")] {
        desk.books.order_open(&sell(order)).await.unwrap();
        let signed_at = desk.books.order_attempt(order, HOLDER, SHORT, SHORT).await.unwrap().granted().unwrap();
        desk.until_ms(signed_at + 3).await;
        assert_eq!(word(&mut desk, order, executed, "olga").await, Ok(true));
        assert_eq!(word(&mut desk, order, executed, "olga").await, Ok(false));
        assert_eq!(desk.order_state(order).await, state);
    }
    // One that is known to be there is not void, but over, once the operator says so: with what is booked.
    assert_eq!(word(&mut desk, "there", None, "olga").await, Ok(true));
    assert_eq!(word(&mut desk, "there", None, "olga").await, Ok(false));
    assert_eq!(desk.order_state("there").await, "ended");
    let acts = "SELECT act || ' ' || subject FROM operator_acts WHERE act LIKE 'resolve%' ORDER BY id";
    assert_eq!(
        desk.texts(acts).await,
        ["resolve not_executed order/absent", "resolve executed order/there", "resolve over order/there"]
    );
    assert_eq!(desk.has("alice", "BTC").await, "1.9 + 0.1");
    desk.assert_sound().await;
}
