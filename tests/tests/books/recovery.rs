//! Goal: what restored books have lost is taken down again as the workflow knows it, and what is not over can be found
//! with all that is needed to start it again.

use std::time::Duration;

use backstop_domain::{
    machine::{AttemptEvent, AttemptState, PayoutState},
    payout::{PayoutKind, PayoutOrder},
};

use crate::{
    desk::{ASKED_NOW, Desk, LONG, SHORT, held, order, paid},
    stock::{STRATEGY, decision, fund, pause, withdrawal},
};

const LOST: &str = "books_lost_payout";

fn of(kind: PayoutKind) -> PayoutOrder {
    match kind {
        PayoutKind::Refund => order("p-1", "0.5"),
        PayoutKind::Withdrawal => withdrawal("p-1", "0.5"),
    }
}

async fn open(desk: &Desk, order: &PayoutOrder) {
    if order.kind == PayoutKind::Refund {
        desk.books.payout_open(order).await.unwrap();
        return;
    }
    desk.books.withdrawal_request(order).await.unwrap();
    desk.books.withdrawal_decide(&held(order), true, &decision("ann")).await.unwrap();
    desk.books.withdrawal_claim(&held(order)).await.unwrap();
}

/// What a workflow restores that has seen so many attempts.
async fn restore(desk: &Desk, order: &PayoutOrder, attempts: u32) -> (bool, PayoutState) {
    let standing = desk.books.payout_restore(order, attempts, None, SHORT, LONG).await.unwrap();
    (standing.applied, standing.receipt.state)
}

async fn attempts(desk: &Desk, order: &PayoutOrder) -> Vec<AttemptState> {
    desk.books.payout_attempts(&order.payout_id).await.unwrap().into_iter().map(|attempt| attempt.state).collect()
}

const KINDS: [PayoutKind; 2] = [PayoutKind::Refund, PayoutKind::Withdrawal];

#[tokio::test]
async fn a_payout_that_was_lost_as_a_whole_is_opened_and_in_doubt_again() {
    for kind in KINDS {
        let mut desk = Desk::open().await;
        let order = of(kind);
        assert_eq!(restore(&desk, &order, 2).await, (true, PayoutState::Attempted));
        assert_eq!(attempts(&desk, &order).await, [AttemptState::NotSent, AttemptState::Unknown]);
        assert_eq!(desk.available("alice").await, "1.5");
        assert_eq!(desk.findings().await, [format!("{LOST} {}", order.payout_id)]);
        let before = desk.everything().await;
        assert_eq!(restore(&desk, &order, 2).await, (false, PayoutState::Attempted));
        assert_eq!(desk.everything().await, before);
        // Nothing is sent again before the venue's record has been read late enough.
        assert!(desk.books.payout_attempt(&held(&order), SHORT, LONG).await.is_err());
        assert_eq!(desk.books.payout_attempts_vanish(&held(&order), ASKED_NOW).await.unwrap(), 1);
        desk.settle(&order, &paid("w-1", "0.49", "0.01")).await;
        desk.assert_sound().await;
    }
}

#[tokio::test]
async fn a_payout_that_was_lost_before_it_was_sent_is_only_opened_again() {
    for kind in KINDS {
        let mut desk = Desk::open().await;
        let order = of(kind);
        assert_eq!(restore(&desk, &order, 0).await, (true, PayoutState::Opened));
        assert_eq!(attempts(&desk, &order).await, []);
        assert!(desk.books.payout_abandon(&order, "cancelled").await.unwrap().applied);
        assert_eq!(desk.available("alice").await, "2");
        desk.assert_sound().await;
    }
}

#[tokio::test]
async fn a_withdrawal_that_has_lost_its_opening_is_opened_again() {
    for approved in [false, true] {
        let mut desk = Desk::open().await;
        let order = of(PayoutKind::Withdrawal);
        desk.books.withdrawal_request(&order).await.unwrap();
        if approved {
            desk.books.withdrawal_decide(&held(&order), true, &decision("ann")).await.unwrap();
        }
        assert_eq!(restore(&desk, &order, 1).await, (true, PayoutState::Attempted));
        assert_eq!(attempts(&desk, &order).await, [AttemptState::Unknown]);
        let evidence = "SELECT evidence ->> 'lost' FROM findings WHERE kind = 'books_lost_payout'";
        assert_eq!(desk.texts(evidence).await, ["its opening"]);
        assert_eq!(desk.available("alice").await, "1.5");
        desk.assert_sound().await;
    }
}

#[tokio::test]
async fn attempts_that_were_lost_are_in_doubt_again_and_those_before_them_void() {
    for kind in KINDS {
        for known in [0, 1] {
            let mut desk = Desk::open().await;
            let order = of(kind);
            open(&desk, &order).await;
            if known == 1 {
                // The backup was made while the first was under way; the workflow knows of a second, granted later.
                desk.books.payout_attempt(&held(&order), SHORT, LONG).await.unwrap();
            }
            assert_eq!(restore(&desk, &order, known + 1).await, (true, PayoutState::Attempted));
            let expected: &[_] = match known {
                0 => &[AttemptState::Unknown],
                _ => &[AttemptState::Absent, AttemptState::Unknown],
            };
            assert_eq!(attempts(&desk, &order).await, expected);
            assert!(desk.books.payout_return(&held(&order), "no", None).await.is_err(), "returned while in doubt");
            desk.assert_sound().await;
        }
    }
}

#[tokio::test]
async fn a_restored_attempt_is_looked_up_from_long_before_it_was_restored() {
    let mut desk = Desk::open().await;
    let order = order("late", "0.1");
    restore(&desk, &order, 1).await;
    // It was sent before the books were put back: nobody knows when, and a lookup that begins later would not see it.
    let hours = "SELECT round(extract(epoch FROM clock_timestamp() - signed_at) / 3600)::text FROM payout_attempts";
    assert_eq!(desk.texts(hours).await, ["167"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn where_nothing_was_lost_nothing_is_changed() {
    for kind in KINDS {
        for event in [None, Some(AttemptEvent::Lose), Some(AttemptEvent::NotSend)] {
            let mut desk = Desk::open().await;
            let order = of(kind);
            open(&desk, &order).await;
            desk.books.payout_attempt(&held(&order), SHORT, LONG).await.unwrap();
            if let Some(event) = event {
                desk.outcome(&order, 1, event).await;
            }
            if event == Some(AttemptEvent::NotSend) {
                desk.books.payout_return(&held(&order), "no", None).await.unwrap();
            }
            let before = desk.everything().await;
            assert!(!restore(&desk, &order, 1).await.0);
            assert!(!restore(&desk, &order, 0).await.0);
            assert_eq!(desk.everything().await, before);
        }
    }
}

#[tokio::test]
async fn what_is_not_over_is_listed_with_its_workflow_and_what_that_was_started_with() {
    let mut desk = Desk::trading().await;
    let carried = |order: PayoutOrder, holder: &str| PayoutOrder {
        holder: holder.into(),
        input: serde_json::json!({"of": holder}),
        ..order
    };
    for (name, holder) in [("open", "r-open"), ("sent", "r-sent"), ("asks", "r-asks"), ("paid", "r-paid")] {
        let refund = carried(order(name, "0.1"), holder);
        desk.books.payout_open(&refund).await.unwrap();
        if name != "open" {
            desk.books.payout_attempt(&held(&refund), SHORT, LONG).await.unwrap();
        }
        match name {
            "asks" => drop(desk.books.payout_escalate(&held(&refund), "no answer").await.unwrap()),
            "paid" => drop(desk.settle(&refund, &paid("w-1", "0.09", "0.01")).await),
            _ => {}
        }
    }
    desk.books.payout_abandon(&carried(order("ended", "0.1"), "r-ended"), "cancelled").await.unwrap();
    for (name, amount) in [("w-queued", "0.1"), ("w-waiting", "0.5"), ("w-rejected", "0.5"), ("w-expired", "0.5")] {
        let withdrawal = carried(withdrawal(name, amount), name);
        desk.books.withdrawal_request(&withdrawal).await.unwrap();
        match name {
            "w-rejected" => {
                drop(desk.books.withdrawal_decide(&held(&withdrawal), false, &decision("ann")).await.unwrap());
            }
            "w-expired" => drop(desk.books.withdrawal_expire(&held(&withdrawal)).await.unwrap()),
            _ => {}
        }
    }
    for name in ["f-waiting", "f-refunding", "f-refunded", "f-funded"] {
        desk.books.funding_open(&fund(name), name).await.unwrap();
        desk.observe(&format!("{name}-1"), "0.5", "BTC", name).await;
    }
    desk.observe("f-funded-2", "20000", "USDT", "f-funded").await;
    for name in ["f-refunding", "f-refunded"] {
        desk.books.funding_expire(name, name, "too late").await.unwrap();
    }
    // Its refund is a payout of its own now, and listed as such.
    let refund = desk.refund_of("f-refunded", "deposit/binance/f-refunded-1/order").await;
    desk.books.payout_open(&carried(refund, "r-of-funding")).await.unwrap();
    desk.books.pause_open(&pause("p-1", STRATEGY), "p-draining").await.unwrap();
    desk.start("mm-2").await.unwrap();
    desk.books.pause_open(&pause("p-2", "mm-2"), "p-blocked").await.unwrap();
    desk.books.pause_end("p-2", "p-blocked", "block", "too slow").await.unwrap();
    let now = desk.books.watermark("none").await.unwrap().1;
    desk.until_ms(now + 2).await;
    let unfinished = desk.books.unfinished(Duration::from_millis(1), "").await.unwrap();
    let listed: Vec<_> = unfinished.iter().map(|row| format!("{} {}", row.workflow, row.holder)).collect();
    let mut expected = [
        "FundOrder f-refunding",
        "FundOrder f-waiting",
        "PauseAndWithdraw p-draining",
        "Refund r-asks",
        "Refund r-of-funding",
        "Refund r-open",
        "Refund r-sent",
        "Withdraw w-queued",
        "Withdraw w-waiting",
    ];
    expected.sort_by_key(|line| line.split_once(' ').unwrap().1);
    assert_eq!(listed, expected);
    for row in &unfinished {
        match row.workflow.as_str() {
            "FundOrder" => assert_eq!(row.input["order_id"], row.holder.as_str()),
            "PauseAndWithdraw" => assert_eq!(row.input["operation_id"], "p-1"),
            _ => assert_eq!(row.input["of"], row.holder.as_str()),
        }
    }
    // Page by page; and what has just moved is left to those who move it.
    let page = desk.books.unfinished(Duration::from_millis(1), "r-of-funding").await.unwrap();
    assert_eq!(page.first().unwrap().holder, "r-open");
    assert!(desk.books.unfinished(LONG, "").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_watermark_never_goes_back() {
    let desk = Desk::open().await;
    assert_eq!(desk.books.watermark("deposits/binance").await.unwrap().0, None);
    for (set, is) in [(5, 5), (9, 9), (7, 9)] {
        desk.books.watermark_set("deposits/binance", set).await.unwrap();
        assert_eq!(desk.books.watermark("deposits/binance").await.unwrap().0, Some(is));
    }
    assert_eq!(desk.books.watermark("deposits/kraken").await.unwrap().0, None);
}
