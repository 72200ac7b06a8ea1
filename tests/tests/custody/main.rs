//! `Reconcile` against a venue: what is done behind the functions' back, here or there, is found, and nothing else; and it is over
//! when it is undone.
#![allow(clippy::unwrap_used)]

mod balances;
mod deposits;
mod load;
mod orders;
mod payouts;
mod silent;

use backstop::stack::wait_until;
use backstop_domain::reconcile::{CheckReport, Report};
use backstop_tests::{End, World, world::DEADLINE};
use serde_json::json;
use sqlx::Connection;
use uuid::Uuid;

/// Reconciles, and looks at nothing but the venues.
async fn check(world: &World) -> Report {
    reconcile(world, &["venues"]).await
}

async fn reconcile(world: &World, checks: &[&str]) -> Report {
    let id = format!("reconcile/{}", Uuid::now_v7());
    match world.run_any("Reconcile", &id, &json!({"checks": checks})).await {
        End::Result(report) => serde_json::from_value(report).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn named<'a>(report: &'a Report, check: &str) -> &'a CheckReport {
    report.checks.iter().find(|report| report.check == check).unwrap_or_else(|| panic!("{check}: {report:?}"))
}

/// Reconciles until these findings are open and no other, as `severity kind subject`. What is young may not be judged yet.
async fn finds(world: &World, expected: &[String]) -> Report {
    let mut expected = expected.to_vec();
    expected.sort();
    let (mut report, mut found) = (Report::default(), Vec::new());
    let held = wait_until(DEADLINE, async || {
        report = check(world).await;
        assert!(report.checks.iter().all(|check| check.looked), "{report:?}");
        found = report.findings.iter().map(|f| format!("{:?} {} {}", f.severity, f.kind, f.subject)).collect();
        found.sort();
        found == expected
    });
    assert!(held.await, "{expected:?} instead of {found:?}: {report:?}");
    report
}

async fn finds_nothing(world: &World) -> Report {
    finds(world, &[]).await
}

/// Which accounts findings have frozen, as `owner asset`. Lifts the freezes, as an operator does.
async fn frozen(world: &World) -> Vec<String> {
    let mut owner = world.database.owner().await;
    let sql = "SELECT owner, asset FROM accounts WHERE frozen_by LIKE 'finding %' ORDER BY owner, asset";
    let frozen: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut owner).await.unwrap();
    for (user, asset) in &frozen {
        let lift = sqlx::query("SELECT account_unfreeze($1, $2, 'olga', 'looked at')").bind(user).bind(asset);
        lift.execute(&mut owner).await.unwrap();
    }
    frozen.into_iter().map(|(owner, asset)| format!("{owner} {asset}")).collect()
}

/// Does what nobody may: as the owner, whom no trigger holds back here.
async fn damage(world: &World, sql: String) {
    let mut owner = world.database.owner().await;
    let mut damage = owner.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL session_replication_role = replica").execute(&mut *damage).await.unwrap();
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut *damage).await.unwrap();
    assert!(done.rows_affected() > 0, "touched nothing: {sql}");
    damage.commit().await.unwrap();
}
