//! Goal: what a funded order has set aside becomes its user's to trade with, once, as a whole, and by somebody's act.

use backstop_activities::books::PlacedOrder;
use backstop_domain::{RefusalKind, machine::FundingState};
use futures::future::join_all;
use serde_json::json;

use crate::{
    desk::{Desk, HOLDER, assert_refused, order},
    stock::{fund, sell},
};

async fn waiting() -> Desk {
    let desk = Desk::open().await;
    desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap();
    desk
}

#[tokio::test]
async fn a_funded_order_is_released_to_its_user_who_trades_with_it() {
    let mut desk = waiting().await;
    for (deposit, amount, asset) in [("d-1", "0.2", "BTC"), ("d-2", "0.4", "BTC"), ("d-3", "20000", "USDT")] {
        desk.observe(deposit, amount, asset, "o-1").await;
    }
    assert!(desk.books.funding_release("o-1", "olga", "to start mm-9").await.unwrap());
    let parts = [
        "deposit/binance/d-1/order kept 0.2 BTC",
        "deposit/binance/d-2/order kept 0.3 BTC",
        "deposit/binance/d-2/refund refunding 0.1 BTC",
        "deposit/binance/d-3/order kept 20000 USDT",
    ];
    assert_eq!(desk.parts().await, parts);
    // What goes back stays set aside for it.
    assert_eq!(
        (desk.has("carol", "BTC").await, desk.has("carol", "USDT").await),
        ("0.5 + 0.1".into(), "20000 + 0".into())
    );
    let status = desk.books.funding_status("o-1").await.unwrap();
    assert_eq!((status.state, status.reason.as_deref()), (FundingState::Released, Some("to start mm-9")));
    assert_eq!(status.in_words(), "0.5 of 0.5 BTC, 20000 of 20000 USDT");
    assert!(desk.announced().await.contains(&"funding/o-1 order.released".to_owned()));
    assert_eq!(desk.acts().await, ["release order funding/o-1 olga to start mm-9"]);
    assert_eq!(desk.findings().await, Vec::<String>::new().as_slice());
    let market = ("binance", "BTC", "USDT");
    desk.books.strategy_start("mm-9", "carol", market, &json!({}), "olga").await.unwrap();
    let sell = PlacedOrder { strategy_key: "mm-9", quantity: "0.5", ..sell("s-1") };
    assert!(desk.books.order_open(&sell).await.unwrap());
    assert_eq!(desk.has("carol", "BTC").await, "0 + 0.6");
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_order_is_released_once_and_only_when_it_is_funded() {
    let mut desk = waiting().await;
    desk.observe("d-1", "0.5", "BTC", "o-1").await;
    desk.books.funding_open(&fund("o-2"), HOLDER).await.unwrap();
    desk.books.funding_expire("o-2", HOLDER, "too late").await.unwrap();
    let before = desk.everything().await;
    let release = async |desk: &Desk, order: &str| desk.books.funding_release(order, "olga", "to trade").await;
    assert_refused(release(&desk, "o-1").await, RefusalKind::NotAllowed, "state", "awaiting");
    assert_refused(release(&desk, "o-2").await, RefusalKind::NotAllowed, "state", "expired");
    assert_refused(release(&desk, "o-9").await, RefusalKind::NotFound, "subject", "o-9");
    let nobody = desk.books.funding_release("o-1", " ", "to trade").await;
    assert_refused(nobody, RefusalKind::InvalidInput, "field", "by");
    let for_nothing = desk.books.funding_release("o-1", "olga", "").await;
    assert_refused(for_nothing, RefusalKind::InvalidInput, "field", "reason");
    assert_eq!(desk.everything().await, before);
    desk.observe("d-2", "20000", "USDT", "o-1").await;
    assert!(release(&desk, "o-1").await.unwrap());
    let before = desk.everything().await;
    assert!(!release(&desk, "o-1").await.unwrap());
    assert!(!desk.books.funding_release("o-1", "otto", "once more").await.unwrap());
    let opened = desk.books.funding_open(&fund("o-1"), HOLDER).await.unwrap();
    let expired = desk.books.funding_expire("o-1", HOLDER, "too late").await.unwrap();
    assert_eq!((opened.state, expired.state), (FundingState::Released, FundingState::Released));
    assert_eq!(desk.everything().await, before);
    let unfinished = desk.texts("SELECT holder FROM unfinished WHERE workflow = 'FundOrder'").await;
    assert_eq!(unfinished, Vec::<String>::new().as_slice());
    // What comes later goes back, as it does once an order is funded; what was released is no refund's.
    desk.observe("d-3", "0.1", "BTC", "o-1").await;
    assert_eq!(desk.refund_of("o-1", "deposit/binance/d-3/refund").await.amount.to_string(), "0.1");
    let back = desk.books.payout_open(&order("deposit/binance/d-1/order", "0.5")).await;
    assert_refused(back, RefusalKind::NotAllowed, "state", "kept");
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_eight_people_release_at_once_while_more_comes_in_is_released_once() {
    let mut desk = Desk::open().await;
    let books = desk.database.books(10).await;
    for round in 0..20 {
        let name = format!("o-{round}");
        books.funding_open(&fund(&name), HOLDER).await.unwrap();
        for (amount, asset) in [("0.5", "BTC"), ("20000", "USDT")] {
            desk.observe(&format!("{name}-{asset}"), amount, asset, &name).await;
        }
        let released = join_all((0..8).map(|_| {
            let (books, name) = (books.clone(), name.clone());
            tokio::spawn(async move { books.funding_release(&name, "olga", "to trade").await.unwrap() })
        }));
        let more = format!("{name}-more");
        let (released, more) = tokio::join!(released, desk.observe(&more, "0.01", "BTC", &name));
        assert_eq!(released.into_iter().filter(|new| *new.as_ref().unwrap()).count(), 1, "{name}");
        assert!(more);
    }
    assert_eq!(desk.has("carol", "BTC").await, "10 + 0.2");
    assert_eq!(desk.has("carol", "USDT").await, "400000 + 0");
    desk.assert_sound().await;
}
