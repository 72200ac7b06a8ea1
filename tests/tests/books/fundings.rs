//! Goal: every deposit is booked once, whatever it is for and whenever it comes; an order takes what it needs of it, and
//! the rest goes back, or stays with the user.

use backstop_domain::{RefusalKind, machine::FundingState, payout::PayoutOrder};
use futures::future::join_all;
use serde_json::json;

use crate::{
    desk::{ADDRESS, Desk, HOLDER, LONG, SHORT, assert_refused, id, order, paid, refusal},
    stock::{ETHER, fund, fund_with},
};

async fn waiting() -> Desk {
    let desk = Desk::open().await;
    desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap();
    desk
}

async fn state(desk: &Desk) -> FundingState {
    desk.books.funding_status("o-1").await.unwrap().state
}

#[tokio::test]
async fn an_order_is_funded_by_exactly_what_it_needs_and_not_before() {
    let mut desk = waiting().await;
    assert!(desk.observe("d-1", "0.5", "BTC", "o-1").await);
    assert_eq!(state(&desk).await, FundingState::Awaiting);
    assert!(desk.observe("d-2", "20000", "USDT", "o-1").await);
    assert_eq!(state(&desk).await, FundingState::Funded);
    assert_eq!(
        (desk.has("carol", "BTC").await, desk.has("carol", "USDT").await),
        ("0 + 0.5".into(), "0 + 20000".into())
    );
    assert!(desk.announced().await.contains(&"funding/o-1 order.funded".to_owned()));
    // Funded, it can't expire any more.
    let expired = desk.books.funding_expire("o-1", HOLDER, "too late").await.unwrap();
    assert_eq!(expired.state, FundingState::Funded);
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_is_more_than_an_order_needs_is_divided_and_goes_back() {
    let mut desk = waiting().await;
    for (deposit, amount) in [("d-1", "0.2"), ("d-2", "0.25"), ("d-3", "0.15")] {
        desk.observe(deposit, amount, "BTC", "o-1").await;
    }
    let parts = [
        "deposit/binance/d-1/order reserved 0.2 BTC",
        "deposit/binance/d-2/order reserved 0.25 BTC",
        "deposit/binance/d-3/order reserved 0.05 BTC",
        "deposit/binance/d-3/refund refunding 0.1 BTC",
    ];
    assert_eq!(desk.parts().await, parts);
    let status = desk.books.funding_status("o-1").await.unwrap();
    assert_eq!((status.state, status.in_words().as_str()), (FundingState::Awaiting, "0.5 of 0.5 BTC, 0 of 20000 USDT"));
    assert_eq!(status.refunds[0].input["amount"], "0.1");
    assert_eq!(desk.has("carol", "BTC").await, "0 + 0.6");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_asset_that_the_order_does_not_need_goes_back_or_stays_where_nobody_said_where_to() {
    let mut desk = Desk::open().await;
    let home = json!({"refund_destination": {
        "BTC": {"network": "BTC", "address": ADDRESS}, "BNB": {"network": "BSC", "address": ETHER},
        "USDT": {"network": "ETH", "address": ETHER},
    }});
    desk.books.funding_open(&fund_with("o-1", &home), HOLDER).await.unwrap();
    desk.observe("d-1", "1", "BNB", "o-1").await;
    desk.observe("d-2", "3", "ETH", "o-1").await;
    let parts = ["deposit/binance/d-1/refund refunding 1 BNB", "deposit/binance/d-2/refund kept 3 ETH"];
    assert_eq!(desk.parts().await, parts);
    assert_eq!((desk.has("carol", "BNB").await, desk.has("carol", "ETH").await), ("0 + 1".into(), "3 + 0".into()));
    assert_eq!(desk.findings().await, ["deposit_not_refunded funding/o-1"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_comes_after_the_order_was_funded_or_has_expired_goes_back() {
    let mut desk = waiting().await;
    desk.books.funding_open(&fund("o-2"), HOLDER).await.unwrap();
    desk.observe("d-1", "0.5", "BTC", "o-1").await;
    desk.observe("d-2", "20000", "USDT", "o-1").await;
    desk.observe("d-3", "0.1", "BTC", "o-1").await;
    desk.observe("d-4", "0.4", "BTC", "o-2").await;
    let expired = desk.books.funding_expire("o-2", HOLDER, "not paid in time").await.unwrap();
    assert_eq!((expired.state, expired.reason.as_deref()), (FundingState::Expired, Some("not paid in time")));
    desk.observe("d-5", "20000", "USDT", "o-2").await;
    let parts = [
        "deposit/binance/d-1/order reserved 0.5 BTC",
        "deposit/binance/d-2/order reserved 20000 USDT",
        "deposit/binance/d-3/refund refunding 0.1 BTC",
        "deposit/binance/d-4/order refunding 0.4 BTC",
        "deposit/binance/d-5/refund refunding 20000 USDT",
    ];
    assert_eq!(desk.parts().await, parts);
    let refunds = desk.books.funding_status("o-2").await.unwrap().refunds;
    assert!(refunds.iter().all(|refund| refund.state == "to be started"), "{refunds:?}");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_refund_pays_from_what_its_deposit_has_set_aside_and_only_with_exactly_its_content() {
    let mut desk = waiting().await;
    desk.observe("d-1", "0.4", "BTC", "o-1").await;
    let part = "deposit/binance/d-1/order";
    let early = order(part, "0.4");
    assert_refused(desk.books.payout_open(&early).await, RefusalKind::NotAllowed, "state", "reserved");
    // The reason of the expiry becomes the refund's: it has to be one that a refund takes.
    let long = "not paid\n".repeat(40);
    desk.books.funding_expire("o-1", HOLDER, &long).await.unwrap();
    let refund = desk.refund_of("o-1", part).await;
    let before = desk.everything().await;
    let conflict = RefusalKind::Conflict;
    let less = PayoutOrder { amount: "0.3".parse().unwrap(), ..refund.clone() };
    assert_refused(desk.books.payout_open(&less).await, conflict, "field", "amount");
    let mut elsewhere = refund.clone();
    elsewhere.destination.address = id("1BoatSLRHtKNngkdXEeobR76b53LETtpyT");
    assert_refused(desk.books.payout_open(&elsewhere).await, conflict, "field", "destination.address");
    // Another payout of hers does not get at it.
    let other = PayoutOrder { user_id: refund.user_id.clone(), ..order("other", "0.1") };
    assert_refused(desk.books.payout_open(&other).await, RefusalKind::InsufficientFunds, "available", "0");
    assert_eq!(desk.everything().await, before);
    assert!(desk.books.payout_open(&refund).await.unwrap().applied);
    assert_eq!(desk.has("carol", "BTC").await, "0 + 0");
    desk.books.payout_attempt(&refund.as_ref(), SHORT, LONG).await.unwrap();
    desk.settle(&refund, &paid("w-1", "0.39", "0.01")).await;
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_refund_that_is_abandoned_leaves_its_deposit_with_the_user() {
    let mut desk = waiting().await;
    for deposit in ["d-1", "d-2", "d-3"] {
        desk.observe(deposit, "0.1", "BTC", "o-1").await;
    }
    // The refund of one is ended before its deposit is to go back, of one before it is opened, of one afterwards.
    let early = order("deposit/binance/d-1/order", "0.1");
    desk.books.payout_abandon(&early, "never").await.unwrap();
    desk.books.funding_expire("o-1", HOLDER, "cancelled").await.unwrap();
    let [second, third] = ["d-2", "d-3"].map(|deposit| format!("deposit/binance/{deposit}/order"));
    let second = desk.refund_of("o-1", &second).await;
    desk.books.payout_abandon(&second, "frozen").await.unwrap();
    let third = desk.refund_of("o-1", &third).await;
    desk.books.payout_open(&third).await.unwrap();
    desk.books.payout_abandon(&third, "cancelled").await.unwrap();
    let kept = |deposit| format!("deposit/binance/{deposit}/order kept 0.1 BTC");
    assert_eq!(desk.parts().await, ["d-1", "d-2", "d-3"].map(kept));
    assert_eq!(desk.has("carol", "BTC").await, "0.3 + 0");
    assert!(desk.books.funding_status("o-1").await.unwrap().refunds.is_empty());
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_deposit_below_the_minimum_waits_in_suspense_until_somebody_says_whose_it_is() {
    let mut desk = Desk::open().await;
    desk.observe("d-1", "0.00009999", "BTC", "o-1").await;
    desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap();
    desk.observe("d-2", "0.00009999", "BTC", "o-1").await;
    desk.observe("d-3", "0.0001", "BTC", "o-1").await;
    assert_eq!(desk.parts().await, ["deposit/binance/d-3/order reserved 0.0001 BTC"]);
    assert_eq!(desk.has("~suspense", "BTC").await, "0.00019998 + 0");
    let found = ["deposit_below_minimum deposit/binance/d-1", "deposit_below_minimum deposit/binance/d-2"];
    assert_eq!(desk.findings().await, found);
    assert!(desk.assign("d-1", "carol").await.unwrap());
    assert!(!desk.assign("d-1", "bob").await.unwrap());
    assert_refused(desk.assign("d-2", "~suspense").await, RefusalKind::InvalidInput, "field", "user_id");
    assert_refused(desk.assign("d-9", "carol").await, RefusalKind::NotFound, "subject", "deposit/binance/d-9");
    assert_eq!(desk.findings().await, found[1..]);
    assert_eq!(desk.acts().await, ["assign deposit binance/d-1 to carol olga ticket 4"]);
    assert_eq!(desk.has("carol", "BTC").await, "0.00009999 + 0.0001");
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_came_in_before_its_order_is_taken_up_when_the_order_opens() {
    let mut desk = Desk::open().await;
    desk.observe("d-1", "0.3", "BTC", "o-1").await;
    desk.observe("d-2", "20001", "USDT", "o-1").await;
    desk.observe("d-3", "0.3", "BTC", "o-1").await;
    desk.observe("d-4", "7", "USDT", "o-2").await;
    assert_eq!(desk.findings().await.len(), 4);
    let status = desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap();
    assert_eq!(status.state, FundingState::Funded);
    let parts = [
        "deposit/binance/d-1/order reserved 0.3 BTC",
        "deposit/binance/d-2/order reserved 20000 USDT",
        "deposit/binance/d-2/refund refunding 1 USDT",
        "deposit/binance/d-3/order reserved 0.2 BTC",
        "deposit/binance/d-3/refund refunding 0.1 BTC",
    ];
    assert_eq!(desk.parts().await, parts);
    assert_eq!(desk.findings().await, ["deposit_without_owner deposit/binance/d-4"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_an_operator_has_given_to_a_user_pays_for_no_order_that_opens_later() {
    let mut desk = Desk::open().await;
    desk.observe("d-1", "0.5", "BTC", "o-1").await;
    assert!(desk.assign("d-1", "carol").await.unwrap());
    let status = desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap();
    assert_eq!(status.in_words(), "0 of 0.5 BTC, 0 of 20000 USDT");
    assert_eq!(desk.has("carol", "BTC").await, "0.5 + 0");
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_take_up_the_same_assets_from_suspense_do_not_wait_in_a_circle() {
    let mut desk = Desk::open().await;
    let books = desk.database.books(8).await;
    for round in 0..20 {
        let names: Vec<String> = (0..8).map(|number| format!("o-{round}-{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            let mut deposits = [("0.5", "BTC"), ("20000", "USDT")];
            deposits.rotate_left(number % 2);
            for (amount, asset) in deposits {
                desk.observe(&format!("{name}-{asset}"), amount, asset, name).await;
            }
        }
        let opened = names.into_iter().map(|name| {
            let books = books.clone();
            tokio::spawn(async move { books.funding_open(&fund(&name), HOLDER).await.unwrap().state })
        });
        assert!(join_all(opened).await.into_iter().all(|state| state.unwrap() == FundingState::Funded));
    }
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_eight_processes_see_while_its_order_opens_or_expires_is_decided_on_once() {
    let mut desk = Desk::open().await;
    let books = desk.database.books(10).await;
    for round in 0..30 {
        let name = format!("o-{round}");
        if round % 2 == 0 {
            books.funding_open(&fund(&name), HOLDER).await.unwrap();
        }
        let seen = join_all((0..8).map(|_| {
            let (books, name) = (books.clone(), name.clone());
            tokio::spawn(async move {
                let seen = books.deposit_observe("binance", &name, "BTC", "BTC", "0.5", Some(&name));
                seen.await.unwrap()
            })
        }));
        let moved = tokio::spawn({
            let (books, name) = (books.clone(), name.clone());
            async move {
                match round % 2 {
                    0 => books.funding_expire(&name, HOLDER, "too late").await.unwrap(),
                    _ => books.funding_open(&fund(&name), HOLDER).await.unwrap(),
                }
            }
        });
        let (seen, moved) = tokio::join!(seen, moved);
        moved.unwrap();
        assert_eq!(seen.into_iter().filter(|new| *new.as_ref().unwrap()).count(), 1, "{name}");
    }
    assert_eq!(desk.has("carol", "BTC").await, "0 + 15");
    let states = "SELECT DISTINCT f.state || ' ' || x.state FROM funding_parts AS x JOIN fundings AS f USING (order_id)
                   ORDER BY 1";
    assert_eq!(desk.texts(states).await, ["awaiting reserved", "expired refunding"]);
    assert_eq!(desk.findings().await, Vec::<String>::new().as_slice());
    desk.assert_sound().await;
}

#[tokio::test]
async fn two_outputs_of_one_transaction_are_two_deposits() {
    let mut desk = waiting().await;
    assert!(desk.observe("tx-1:0", "0.2", "BTC", "o-1").await);
    assert!(desk.observe("tx-1:1", "0.2", "BTC", "o-1").await);
    assert!(!desk.observe("tx-1:1", "0.2", "BTC", "o-1").await);
    assert_eq!(desk.has("carol", "BTC").await, "0 + 0.4");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_record_that_changes_refuses_nothing_and_is_seen() {
    let mut desk = waiting().await;
    desk.observe("d-1", "0.2", "BTC", "o-1").await;
    assert!(!desk.observe("d-1", "0.3", "BTC", "o-1").await);
    assert_eq!(desk.has("carol", "BTC").await, "0 + 0.2");
    assert_eq!(desk.findings().await, ["deposit_differs deposit/binance/d-1"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_deposit_finer_than_its_asset_is_booked_and_what_is_too_fine_stays_with_the_user() {
    let mut desk = waiting().await;
    desk.observe("d-1", "10000.1234567", "USDT", "o-1").await;
    desk.observe("d-2", "12000.0000001", "USDT", "o-1").await;
    let parts = [
        "deposit/binance/d-1/order reserved 10000.123456 USDT",
        "deposit/binance/d-1/refund kept 0.0000007 USDT",
        "deposit/binance/d-2/order reserved 9999.876544 USDT",
        "deposit/binance/d-2/refund kept 2000.1234561 USDT",
    ];
    assert_eq!(desk.parts().await, parts);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_deposit_is_booked_on_a_frozen_account() {
    let mut desk = waiting().await;
    desk.freeze("carol", "finding 1").await;
    desk.observe("d-1", "0.6", "BTC", "o-1").await;
    assert_eq!(desk.has("carol", "BTC").await, "0 + 0.6");
    let refund = desk.refund_of("o-1", "deposit/binance/d-1/refund").await;
    assert_refused(desk.books.payout_open(&refund).await, RefusalKind::Frozen, "frozen_by", "finding 1");
    assert_eq!(desk.has("carol", "BTC").await, "0 + 0.6");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_tag_and_an_order_are_somebodys_for_ever() {
    let mut desk = waiting().await;
    let before = desk.everything().await;
    let taken = desk.books.funding_open(&fund_with("o-2", &json!({"deposit_tag": "o-1"})), HOLDER).await;
    assert_refused(taken, RefusalKind::Conflict, "belongs_to", "order o-1");
    let more = desk.books.funding_open(&fund_with("o-1", &json!({"base_amount": "0.6"})), HOLDER).await;
    assert_refused(more, RefusalKind::Conflict, "field", "base_amount");
    assert_refused(desk.books.funding_open(&fund("o-1"), "w-2").await, RefusalKind::Held, "holder", HOLDER);
    assert_refused(desk.books.funding_expire("o-1", "w-2", "mine").await, RefusalKind::Held, "holder", HOLDER);
    assert_eq!(refusal(desk.books.funding_status("o-9").await).kind, RefusalKind::NotFound);
    assert_eq!(desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap().state, FundingState::Awaiting);
    assert_eq!(desk.everything().await, before);
    desk.books.funding_expire("o-1", HOLDER, "too late").await.unwrap();
    let other = desk.books.funding_open(&fund("o-1"), "w-2").await.unwrap();
    assert_eq!(other.state, FundingState::Expired);
    let again = desk.books.funding_open(&fund_with("o-3", &json!({"deposit_tag": "o-1"})), HOLDER).await;
    assert_refused(again, RefusalKind::Conflict, "belongs_to", "order o-1");
}

#[tokio::test]
async fn a_deposit_that_is_booked_after_all_closes_the_findings_that_said_it_could_not_be() {
    let mut desk = waiting().await;
    for kind in ["deposit_unreadable", "deposit_not_bookable", "deposit_differs"] {
        desk.books.find(kind, "deposit/binance/d-1", "warning", &json!({})).await.unwrap();
    }
    desk.books.find("deposit_unreadable", "deposit/binance/d-2", "warning", &json!({})).await.unwrap();
    desk.observe("d-1", "0.2", "BTC", "o-1").await;
    assert_eq!(
        desk.findings().await,
        ["deposit_differs deposit/binance/d-1", "deposit_unreadable deposit/binance/d-2"]
    );
}
