//! Goal: a withdrawal goes only where the user's list says, a large one only with a second person's word, and it is paid
//! for once.

use backstop_activities::books::BooksError;
use backstop_domain::{RefusalKind, machine::PayoutState, payout::PayoutOrder};
use futures::future::join_all;

use crate::{
    desk::{ADDRESS, Desk, LONG, SHORT, assert_refused, id, refusal},
    stock::{decision, withdrawal},
};

const THRESHOLD: &str = "0.5";
const ELSEWHERE: &str = "1BoatSLRHtKNngkdXEeobR76b53LETtpyT";

/// An operator changes where alice's BTC may go. True when it was changed.
async fn list(desk: &mut Desk, function: &str, address: &str) -> bool {
    let sql = format!("SELECT {function}('alice', 'BTC', 'BTC', $1, NULL, 'olga', 'ticket 1')");
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(address);
    query.fetch_one(&mut desk.owner).await.unwrap()
}

fn elsewhere(name: &str) -> PayoutOrder {
    let mut order = withdrawal(name, "0.1");
    order.destination.address = id(ELSEWHERE);
    order
}

async fn waiting(desk: &Desk, name: &str) -> PayoutOrder {
    let order = withdrawal(name, THRESHOLD);
    let standing = desk.books.withdrawal_request(&order).await.unwrap();
    assert_eq!(standing.receipt.state, PayoutState::AwaitingApproval);
    order
}

#[tokio::test]
async fn a_withdrawal_goes_only_where_the_list_says() {
    let mut desk = Desk::open().await;
    let refused = desk.books.withdrawal_request(&elsewhere("w-1")).await;
    assert_refused(refused, RefusalKind::DestinationNotAllowed, "address", ELSEWHERE);
    assert!(list(&mut desk, "destination_allow", ELSEWHERE).await);
    assert!(!list(&mut desk, "destination_allow", ELSEWHERE).await);
    assert!(desk.books.withdrawal_request(&elsewhere("w-1")).await.unwrap().applied);
    let bobs = PayoutOrder { user_id: id("bob"), ..elsewhere("w-2") };
    let others = desk.books.withdrawal_request(&bobs).await;
    assert_refused(others, RefusalKind::DestinationNotAllowed, "owner", "bob");
    assert_eq!(desk.acts().await, [format!("allow destination alice/BTC/BTC/{ELSEWHERE} olga ticket 1")]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_destination_that_was_removed_keeps_what_was_requested_before_from_being_sent() {
    let mut desk = Desk::open().await;
    let order = withdrawal("w-1", "0.1");
    desk.books.withdrawal_request(&order).await.unwrap();
    desk.books.withdrawal_claim(&order.as_ref()).await.unwrap();
    assert!(list(&mut desk, "destination_remove", ADDRESS).await);
    let attempt = desk.books.payout_attempt(&order.as_ref(), SHORT, LONG).await;
    assert_refused(attempt, RefusalKind::DestinationNotAllowed, "address", ADDRESS);
    // Nothing was sent, so the money comes back.
    assert!(desk.books.payout_abandon(&order, "not allowed any more").await.unwrap().applied);
    assert_eq!(desk.available("alice").await, "2");
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_waits_for_a_removal_under_way_and_a_removal_for_an_attempt() {
    let mut desk = Desk::open().await;
    for (name, first_removes) in [("w-1", true), ("w-2", false)] {
        list(&mut desk, "destination_allow", ADDRESS).await;
        let order = withdrawal(name, "0.1");
        desk.books.withdrawal_request(&order).await.unwrap();
        desk.books.withdrawal_claim(&order.as_ref()).await.unwrap();
        let one = desk.database.books(1).await;
        sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
        let late = desk.database.books(1).await;
        if first_removes {
            list_begin(&mut desk).await;
            let attempt = tokio::spawn({
                let order = order.clone();
                async move { late.payout_attempt(&order.as_ref(), SHORT, LONG).await }
            });
            desk.until_waiting(1).await;
            sqlx::query("COMMIT").execute(&mut desk.owner).await.unwrap();
            assert_eq!(refusal(attempt.await.unwrap()).kind, RefusalKind::DestinationNotAllowed);
        } else {
            one.payout_attempt(&order.as_ref(), SHORT, LONG).await.unwrap();
            let mut owner = desk.database.owner().await;
            let removal = tokio::spawn(async move {
                let sql = "SELECT destination_remove('alice', 'BTC', 'BTC', $1, NULL, 'olga', 'ticket 1')";
                sqlx::query_scalar::<_, bool>(sql).bind(ADDRESS).fetch_one(&mut owner).await.unwrap()
            });
            desk.until_waiting(1).await;
            assert!(!removal.is_finished());
            sqlx::query("COMMIT").execute(one.pool()).await.unwrap();
            assert!(removal.await.unwrap());
            assert_eq!(desk.standing(&order).await.receipt.state, PayoutState::Attempted);
        }
    }
    desk.assert_sound().await;
}

/// Removes alice's destination, and does not commit.
async fn list_begin(desk: &mut Desk) {
    sqlx::query("BEGIN").execute(&mut desk.owner).await.unwrap();
    assert!(list(desk, "destination_remove", ADDRESS).await);
}

#[tokio::test]
async fn from_the_threshold_on_a_withdrawal_waits_for_an_approval() {
    let mut desk = Desk::open().await;
    for (name, amount, state) in [
        ("w-1", "0.49999999", PayoutState::Queued),
        ("w-2", "0.5", PayoutState::AwaitingApproval),
        ("w-3", "0.50000001", PayoutState::AwaitingApproval),
    ] {
        let standing = desk.books.withdrawal_request(&withdrawal(name, amount)).await.unwrap();
        assert_eq!((standing.applied, standing.receipt.state), (true, state), "{amount}");
    }
    assert_eq!(desk.available("alice").await, "2", "something was debited for a request");
    desk.damage("UPDATE assets SET approval_threshold = NULL").await;
    let standing = desk.books.withdrawal_request(&withdrawal("w-4", "1")).await.unwrap();
    assert_eq!(standing.receipt.state, PayoutState::Queued, "no threshold");
    desk.assert_sound().await;
}

#[tokio::test]
async fn nobody_decides_on_what_they_asked_for_however_they_write_their_name() {
    let mut desk = Desk::open().await;
    let order = waiting(&desk, "w-1").await;
    let before = desk.everything().await;
    for (name, approve) in [("rita", true), ("Rita", true), ("RITA", false)] {
        let decided = desk.books.withdrawal_decide(&order.as_ref(), approve, &decision(name)).await;
        assert_refused(decided, RefusalKind::SelfApproval, "requested_by", "rita");
    }
    // The books do not rely on names that were trimmed before.
    for sql in ["SELECT withdrawal_decide('withdrawal/w-1', true, ' Rita  ', 'x')"] {
        let refused = sqlx::query(sql).execute(desk.books.pool()).await.map_err(BooksError::from);
        assert_eq!(refusal(refused).kind, RefusalKind::SelfApproval, "{sql}");
    }
    assert_eq!(desk.everything().await, before);
    assert!(desk.books.withdrawal_decide(&order.as_ref(), true, &decision("ann")).await.unwrap().applied);
    desk.assert_sound().await;
}

#[tokio::test]
async fn the_first_word_stands_and_is_on_the_record_once() {
    let mut desk = Desk::open().await;
    let order = waiting(&desk, "w-1").await;
    let approved = desk.books.withdrawal_decide(&order.as_ref(), true, &decision("ann")).await.unwrap();
    assert_eq!((approved.applied, approved.receipt.decided_by.as_deref()), (true, Some("ann")));
    let again = desk.books.withdrawal_decide(&order.as_ref(), true, &decision("ann")).await.unwrap();
    assert_eq!((again.applied, again.receipt.state), (false, PayoutState::Queued));
    for (name, approve) in [("ann", false), ("ben", true), ("ben", false)] {
        let late = desk.books.withdrawal_decide(&order.as_ref(), approve, &decision(name)).await;
        assert_refused(late, RefusalKind::NotAllowed, "state", "queued");
    }
    let expired = desk.books.withdrawal_expire(&order.as_ref()).await.unwrap();
    assert_eq!((expired.applied, expired.receipt.state), (false, PayoutState::Queued));
    assert_eq!(desk.acts().await, ["approve withdrawal withdrawal/w-1 ann ticket 5"]);
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_rejected_withdrawal_is_over_for_ever_and_touched_no_money() {
    let mut desk = Desk::open().await;
    let order = waiting(&desk, "w-1").await;
    desk.books.withdrawal_decide(&order.as_ref(), false, &decision("ann")).await.unwrap();
    let claim = desk.books.withdrawal_claim(&order.as_ref()).await;
    assert_refused(claim, RefusalKind::NotAllowed, "state", "rejected");
    // Another workflow is told the end, and can't begin it anew.
    let other = PayoutOrder { holder: "workflow-2".into(), ..order.clone() };
    let again = desk.books.withdrawal_request(&other).await.unwrap();
    assert_eq!((again.applied, again.receipt.state), (false, PayoutState::Rejected));
    assert_eq!(desk.available("alice").await, "2");
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_approval_and_an_expiry_at_the_same_moment_one_wins_and_both_are_told() {
    let mut desk = Desk::open().await;
    let processes = [desk.database.books(8).await, desk.database.books(8).await];
    let mut approvals = 0;
    for round in 0..32 {
        let order = waiting(&desk, &format!("w-{round}")).await;
        let payout = order.as_ref();
        let word = decision("ann");
        let (decided, expired) =
            tokio::join!(processes[0].withdrawal_decide(&payout, true, &word), processes[1].withdrawal_expire(&payout));
        let (is, expired) = (desk.standing(&order).await.receipt.state, expired.unwrap());
        assert_eq!(expired.receipt.state, is, "who let it expire was told otherwise");
        if let Ok(decided) = decided {
            assert_eq!((decided.applied, expired.applied, is), (true, false, PayoutState::Queued));
            approvals += 1;
        } else {
            assert_eq!(refusal(decided).detail["state"], "expired");
            assert_eq!((expired.applied, is), (true, PayoutState::Expired));
        }
    }
    assert_eq!(desk.acts().await.len(), approvals);
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_is_claimed_once_by_the_workflow_that_holds_it() {
    let mut desk = Desk::open().await;
    let order = withdrawal("w-1", "0.1");
    desk.books.withdrawal_request(&order).await.unwrap();
    let other = PayoutOrder { holder: "workflow-2".into(), ..order.clone() };
    let held = RefusalKind::Held;
    assert_refused(desk.books.withdrawal_request(&other).await, held, "holder", "workflow-1");
    assert_refused(desk.books.withdrawal_claim(&other.as_ref()).await, held, "holder", "workflow-1");
    assert_refused(desk.books.withdrawal_expire(&other.as_ref()).await, held, "holder", "workflow-1");
    assert_refused(desk.books.payout_abandon(&other, "mine").await, held, "holder", "workflow-1");
    let claims = join_all((0..8).map(|_| {
        let (books, payout) = (desk.books.clone(), order.as_ref());
        tokio::spawn(async move { books.withdrawal_claim(&payout).await.unwrap().applied })
    }));
    assert_eq!(claims.await.into_iter().filter(|applied| *applied.as_ref().unwrap()).count(), 1);
    assert_eq!(desk.available("alice").await, "1.9");
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_can_not_be_paid_when_it_is_claimed_is_not_claimed() {
    let mut desk = Desk::open().await;
    let order = withdrawal("w-1", "0.4");
    desk.books.withdrawal_request(&order).await.unwrap();
    desk.adjust("a-1", "alice", "-1.7").await.unwrap();
    let claim = desk.books.withdrawal_claim(&order.as_ref()).await;
    assert_refused(claim, RefusalKind::InsufficientFunds, "available", "0.3");
    desk.adjust("a-2", "alice", "1").await.unwrap();
    desk.freeze("alice", "finding 1").await;
    let claim = desk.books.withdrawal_claim(&order.as_ref()).await;
    assert_refused(claim, RefusalKind::Frozen, "frozen_by", "finding 1");
    assert!(desk.books.payout_abandon(&order, "not paid").await.unwrap().applied);
    let late = desk.books.withdrawal_claim(&order.as_ref()).await;
    assert_refused(late, RefusalKind::Abandoned, "reason", "not paid");
    assert_eq!(desk.available("alice").await, "1.3");
    desk.assert_sound().await;
}

#[tokio::test]
async fn neither_kind_of_payout_passes_for_the_other() {
    let mut desk = Desk::open().await;
    let before = desk.everything().await;
    let opened = desk.books.payout_open(&withdrawal("w-1", "0.1")).await;
    assert_refused(opened, RefusalKind::InvalidInput, "field", "kind");
    let requested = desk.books.withdrawal_request(&crate::desk::order("r-1", "0.1")).await;
    assert_refused(requested, RefusalKind::InvalidInput, "field", "kind");
    assert_eq!(desk.everything().await, before);
}
