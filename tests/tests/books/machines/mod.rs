//! Goal: every state machine does, for every state and every event, what its table says, and nothing else.

mod attempts;
mod deposits;
mod fundings;
mod intents;
mod orders;
mod pauses;
mod payouts;
mod reservations;
mod rewards;

use std::collections::BTreeSet;

use backstop_activities::books::BooksError;
use backstop_domain::{RefusalKind, machine::all_transitions};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::desk::{Desk, refusal};

#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// This call moved it there.
    Applied(String),
    /// It had been done before; nothing changed.
    Repeated,
    /// Nothing moved, but a critical finding was opened.
    Noted,
    /// Refused; nothing changed.
    Refused(RefusalKind),
}

async fn state_of(desk: &mut Desk, table: &str, key: &str, id: &str) -> String {
    let column = if table == "strategies" { "status" } else { "state" };
    let sql = AssertSqlSafe(format!("SELECT {column} FROM {table} WHERE {key} = $1"));
    let state = sqlx::query_scalar(sql).bind(id).fetch_optional(&mut desk.owner).await.unwrap();
    state.unwrap_or_else(|| "absent".to_owned())
}

/// Makes a call, and judges it by what it left behind, whatever it answered. Only one that moved the row may have changed
/// anything, but for the findings of one that noted something.
async fn judged(
    desk: &mut Desk,
    table: &str,
    key: &str,
    id: &str,
    call: impl Future<Output = Result<(), BooksError>>,
) -> Answer {
    let mut before = desk.everything().await;
    let was = state_of(desk, table, key, id).await;
    let answer = call.await;
    let is = state_of(desk, table, key, id).await;
    let mut after = desk.everything().await;
    let [old, new] = [&mut before, &mut after].map(|books| books["findings"].take());
    if id.ends_with("void-place") {
        // The venue's id of an order that shows after all is taken down.
        let ids: Vec<_> = [&mut before, &mut after].map(|books| books["orders"].take()).into();
        assert_ne!(ids[0], ids[1]);
    }
    if answer.is_ok() && (before != after || was != is) {
        assert!(was != is || id.ends_with("attempted-attempt"), "{id} is still {is}, but something has changed");
        return Answer::Applied(is);
    }
    assert_eq!(before, after, "{id}: something has changed");
    match answer {
        Err(_) => {
            assert_eq!(old, new, "{id} was refused, and noted");
            Answer::Refused(refusal(answer).kind)
        }
        Ok(()) if old != new => {
            assert!(criticals(&new) > criticals(&old), "{id}: not noted as critical");
            Answer::Noted
        }
        Ok(()) => Answer::Repeated,
    }
}

fn criticals(findings: &Value) -> usize {
    findings.as_array().into_iter().flatten().filter(|finding| finding["severity"] == "critical").count()
}

#[tokio::test]
async fn the_tables_of_the_domain_and_of_the_books_are_the_same() {
    let mut desk = Desk::open().await;
    let stored: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT machine, state, event, next FROM transitions").fetch_all(&mut desk.owner).await.unwrap();
    let stored: BTreeSet<_> =
        stored.iter().map(|(m, s, e, n)| (m.as_str(), s.as_str(), e.as_str(), n.as_str())).collect();
    assert_eq!(stored, all_transitions().into_iter().collect());
}
