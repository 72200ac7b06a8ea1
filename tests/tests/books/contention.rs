//! Goal: however many processes work on the same accounts at once, no update is lost and nobody waits in a circle.
//!
//! What the design promises: one call is one commit, and it locks its business rows first and then its accounts, in the
//! order of their ids. Two calls can therefore only wait for each other in that order. A transaction of several calls has
//! no such promise, and nothing in the books makes one.

use std::time::Duration;

use backstop_activities::books::{Books, BooksError};
use backstop_domain::{RefusalKind, payout::PayoutOrder};
use futures::future::join_all;

use crate::desk::{Desk, id, order, refusal};

const CONNECTIONS: u32 = 16;
const DEBITS: usize = 600;
const SIMULTANEOUS: usize = 50;
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// Each round of a connection makes ten calls: ten thousand in all.
const ROUNDS: u32 = 63;
const DEADLOCK: &str = "40P01";
const DEADLINE: Duration = Duration::from_secs(60);

/// Two processes of eight connections each.
async fn two_processes(desk: &Desk) -> [Books; 2] {
    [desk.database.books(CONNECTIONS / 2).await, desk.database.books(CONNECTIONS / 2).await]
}

/// The row "two processes debiting one balance 600 times", in the books alone: two pools of connections. With worker
/// processes it is in `anchors::processes`.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_debit_one_balance_600_times_lose_no_update() {
    let mut desk = Desk::open().await;
    let processes = two_processes(&desk).await;
    let debits = (0..DEBITS).map(|number| {
        let books = processes[number % 2].clone();
        tokio::spawn(async move { books.payout_open(&order(&format!("r-{number}"), "0.001")).await.unwrap().applied })
    });
    assert!(join_all(debits).await.into_iter().all(Result::unwrap));
    assert_eq!(desk.available("alice").await, "1.4");
    assert_eq!(desk.texts("SELECT version::text FROM accounts WHERE owner = 'alice' AND asset = 'BTC'").await, ["601"]);
    desk.assert_sound().await;
}

/// Whether the debit was made; false when there was not enough.
async fn debit(books: Books, user: String, number: usize) -> bool {
    let order = PayoutOrder { user_id: id(&user), ..order(&format!("{user}-{number}"), "0.001") };
    match books.payout_open(&order).await {
        Ok(standing) => standing.applied,
        Err(error) => {
            assert_eq!(refusal::<()>(Err(error)).kind, RefusalKind::InsufficientFunds);
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_that_want_the_last_coin_one_gets_it() {
    let mut desk = Desk::open().await;
    let processes = two_processes(&desk).await;
    for round in 0..SIMULTANEOUS {
        let user = format!("user-{round}");
        processes[0].deposit_credit("binance", &user, Some(&user), "BTC", "0.001".parse().unwrap()).await.unwrap();
        let wanted = (0..16).map(|number| tokio::spawn(debit(processes[number % 2].clone(), user.clone(), number)));
        let debited = join_all(wanted).await.into_iter().filter(|debited| *debited.as_ref().unwrap()).count();
        assert_eq!((debited, desk.available(&user).await.as_str()), (1, "0"), "{user}");
    }
    desk.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_that_sixteen_processes_open_at_the_same_moment_is_opened_once() {
    let mut desk = Desk::open().await;
    let books = desk.database.books(CONNECTIONS).await;
    for number in 0..SIMULTANEOUS {
        let at_once = (0..CONNECTIONS).map(|_| {
            let books = books.clone();
            tokio::spawn(
                async move { books.payout_open(&order(&format!("r-{number}"), "0.001")).await.unwrap().applied },
            )
        });
        let opened = join_all(at_once).await.into_iter().filter(|applied| *applied.as_ref().unwrap()).count();
        assert_eq!(opened, 1, "r-{number}");
    }
    assert_eq!(desk.available("alice").await, "1.95");
    desk.assert_sound().await;
}

/// Whether a call ended in a deadlock. Refusals are in order; anything else is not.
fn deadlocked<T>(answer: Result<T, BooksError>) -> usize {
    match answer {
        Ok(_) | Err(BooksError::Refused(_)) => 0,
        Err(BooksError::Unavailable(error)) => {
            let code = error.as_database_error().and_then(|error| Some(error.code()?.into_owned()));
            assert_eq!(code.as_deref(), Some(DEADLOCK), "{error}");
            1
        }
        Err(error) => panic!("{error}"),
    }
}

/// One user's share of a round: even connections open and reserve what odd ones undo, by the same ids.
async fn visit(books: &Books, forth: bool, round: u32, user: &str) -> usize {
    let payout = PayoutOrder { user_id: id(user), ..order(&format!("{round}-{user}"), "0.001") };
    let (reservation, amount) = (format!("{round}-{user}"), "0.002".parse().unwrap());
    if forth {
        deadlocked(books.payout_open(&payout).await)
            + deadlocked(books.reservation_open(&reservation, "w", user, "BTC", amount).await)
    } else {
        deadlocked(books.reservation_release(&reservation, "w", user, "BTC", amount).await)
            + deadlocked(books.payout_abandon(&payout, "cancelled").await)
    }
}

/// What comes besides: a deposit that everybody reports, and a correction, a freeze or the end of one.
async fn disturb(books: &Books, connection: u32, round: u32, user: &str) -> usize {
    let deposit = books.deposit_credit("binance", &format!("d-{round}"), Some(user), "BTC", "1".parse().unwrap()).await;
    let sql = match connection % 4 {
        0 => "SELECT adjustment_post($1, 'ann', 'ticket 9', $2, 'BTC', 0.5)",
        1 => "SELECT adjustment_post($1, 'ann', 'ticket 9', $2, 'BTC', -0.25)",
        2 => "SELECT account_freeze($2, 'BTC', $1)",
        _ => "SELECT account_unfreeze($2, 'BTC', 'ann', $1)",
    };
    let subject = format!("{connection}-{round}");
    let other = sqlx::query(sql).bind(subject).bind(user).execute(books.pool()).await;
    deadlocked(deposit) + deadlocked(other.map_err(BooksError::from))
}

async fn work(books: Books, connection: u32) -> usize {
    let forth = connection.is_multiple_of(2);
    let mut deadlocks = 0;
    for round in 0..ROUNDS {
        let mut users = USERS;
        if !forth {
            users.reverse();
        }
        for user in users {
            deadlocks += visit(&books, forth, round, user).await;
        }
        deadlocks += disturb(&books, connection, round, users[(round % 4) as usize]).await;
    }
    deadlocks
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_opposing_calls_never_wait_in_a_circle() {
    let mut desk = Desk::open().await;
    let books = desk.database.books(CONNECTIONS).await;
    for user in &USERS[2..] {
        books.deposit_credit("binance", user, Some(user), "BTC", "1".parse().unwrap()).await.unwrap();
    }
    let all = join_all((0..CONNECTIONS).map(|connection| tokio::spawn(work(books.clone(), connection))));
    let deadlocks = tokio::time::timeout(DEADLINE, all).await.expect("the calls hang");
    assert_eq!(deadlocks.into_iter().map(Result::unwrap).sum::<usize>(), 0);
    desk.assert_sound().await;
    let states =
        desk.texts("SELECT DISTINCT state FROM payouts UNION SELECT 'r ' || state FROM reservations ORDER BY 1").await;
    assert_eq!(states, ["abandoned", "r abandoned", "r released"], "the two sides did not meet");
}
