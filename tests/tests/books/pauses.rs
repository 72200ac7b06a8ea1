//! Goal: a pause-and-withdraw is one operation on one strategy, goes on only when all the strategy's money is free, and
//! keeps the strategy from starting meanwhile.

use backstop_domain::{PauseRequest, RefusalKind, machine::PauseState};
use futures::future::join_all;

use crate::{
    desk::{Desk, HOLDER, assert_refused, id, refusal},
    stock::{STRATEGY, pause, sell},
};

const OTHER: &str = "workflow-2";

fn request() -> PauseRequest {
    pause("p-1", STRATEGY)
}

#[tokio::test]
async fn an_operation_that_is_opened_again_is_the_same_operation() {
    let mut desk = Desk::trading().await;
    let opened = desk.books.pause_open(&request(), HOLDER).await.unwrap();
    assert_eq!(opened.state, PauseState::Draining);
    let before = desk.everything().await;
    assert_eq!(desk.books.pause_open(&request(), HOLDER).await.unwrap().state, PauseState::Draining);
    let more = PauseRequest { amount: "0.2".parse().unwrap(), ..request() };
    assert_refused(desk.books.pause_open(&more, HOLDER).await, RefusalKind::Conflict, "field", "amount");
    assert_refused(desk.books.pause_open(&request(), OTHER).await, RefusalKind::Held, "holder", HOLDER);
    assert_refused(desk.books.pause_drained("p-1", OTHER).await, RefusalKind::Held, "holder", HOLDER);
    assert_refused(desk.books.pause_end("p-1", OTHER, "block", "mine").await, RefusalKind::Held, "holder", HOLDER);
    assert_eq!(desk.everything().await, before);
    assert_eq!(desk.announced().await[1..], ["pause/p-1 pause_and_withdraw.pending"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_operation_needs_a_strategy_of_the_user() {
    let mut desk = Desk::trading().await;
    let before = desk.everything().await;
    let unknown = desk.books.pause_open(&pause("p-1", "mm-9"), HOLDER).await;
    assert_refused(unknown, RefusalKind::NotFound, "subject", "mm-9");
    let others = PauseRequest { user_id: id("bob"), ..request() };
    assert_refused(desk.books.pause_open(&others, HOLDER).await, RefusalKind::InvalidInput, "field", "strategy_key");
    assert_eq!(desk.everything().await, before);
}

#[tokio::test]
async fn a_blocked_operation_goes_on_when_it_is_opened_again_and_says_why_it_was_blocked() {
    let mut desk = Desk::trading().await;
    desk.books.pause_open(&request(), HOLDER).await.unwrap();
    let blocked = desk.books.pause_end("p-1", HOLDER, "block", "order o-1 is still there").await.unwrap();
    assert_eq!((blocked.state, blocked.reason.as_deref()), (PauseState::Blocked, Some("order o-1 is still there")));
    assert_refused(desk.books.pause_open(&request(), OTHER).await, RefusalKind::Held, "holder", HOLDER);
    let again = desk.books.pause_open(&request(), HOLDER).await.unwrap();
    assert_eq!((again.state, again.reason), (PauseState::Draining, None));
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_strategy_is_withdrawn_from_by_one_operation_at_a_time() {
    let mut desk = Desk::trading().await;
    let second = pause("p-2", STRATEGY);
    desk.books.pause_open(&request(), HOLDER).await.unwrap();
    let refused = desk.books.pause_open(&second, OTHER).await;
    assert_refused(refused, RefusalKind::NotAllowed, "operation_id", "p-1");
    // Blocked, it makes way; and can't come back while the other is at it.
    desk.books.pause_end("p-1", HOLDER, "block", "too slow").await.unwrap();
    desk.books.pause_open(&second, OTHER).await.unwrap();
    let refused = desk.books.pause_open(&request(), HOLDER).await;
    assert_refused(refused, RefusalKind::NotAllowed, "operation_id", "p-2");
    desk.stop(STRATEGY).await.unwrap();
    desk.books.pause_drained("p-2", OTHER).await.unwrap();
    desk.books.pause_end("p-2", OTHER, "complete", "paid").await.unwrap();
    assert_eq!(desk.books.pause_open(&request(), HOLDER).await.unwrap().state, PauseState::Draining);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_strategy_does_not_start_while_its_money_is_being_taken_out() {
    let mut desk = Desk::trading().await;
    desk.books.pause_open(&request(), HOLDER).await.unwrap();
    desk.stop(STRATEGY).await.unwrap();
    assert_refused(desk.start(STRATEGY).await, RefusalKind::NotAllowed, "operation_id", "p-1");
    desk.books.pause_drained("p-1", HOLDER).await.unwrap();
    assert_refused(desk.start(STRATEGY).await, RefusalKind::NotAllowed, "operation_id", "p-1");
    desk.books.pause_end("p-1", HOLDER, "fail", "rejected by ann").await.unwrap();
    assert!(desk.start(STRATEGY).await.unwrap());
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_operation_is_drained_only_when_the_strategy_is_stopped_and_all_its_money_is_free() {
    let mut desk = Desk::trading().await;
    desk.placed(&sell("o-1")).await;
    desk.books.pause_open(&request(), HOLDER).await.unwrap();
    let open = async |desk: &Desk| refusal(desk.books.pause_drained("p-1", HOLDER).await).detail["open"].clone();
    let order = "order o-1 (sell 0.1 BTC at 30000) is placed, 0 filled";
    let money = "reservation order/o-1 holds 0.1 BTC";
    assert_eq!(open(&desk).await, serde_json::json!([order, money, "the strategy is running"]));
    desk.stop(STRATEGY).await.unwrap();
    assert_eq!(open(&desk).await, serde_json::json!([order, money]));
    desk.books.order_end("o-1", "0", "Cancelled").await.unwrap();
    assert_eq!(desk.books.pause_drained("p-1", HOLDER).await.unwrap().state, PauseState::Withdrawing);
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_everybody_opens_drains_and_blocks_at_once_never_waits_in_a_circle() {
    let mut desk = Desk::trading().await;
    let books = desk.database.books(16).await;
    desk.stop(STRATEGY).await.unwrap();
    let work = (0..16).map(|number| {
        let books = books.clone();
        tokio::spawn(async move {
            for round in 0..40 {
                let name = format!("p-{}", round % 3);
                let answer = match (number + round) % 4 {
                    0 | 1 => books.pause_open(&pause(&name, STRATEGY), HOLDER).await,
                    2 => books.pause_drained(&name, HOLDER).await,
                    _ => books.pause_end(&name, HOLDER, "block", "later").await,
                };
                if let Err(error) = answer {
                    assert!(error.refusal().is_some(), "{error}");
                }
            }
        })
    });
    join_all(work).await.into_iter().for_each(Result::unwrap);
    desk.assert_sound().await;
}
