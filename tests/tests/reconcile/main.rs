//! `Reconcile`, end to end: damage that is done behind the functions' back is found, frozen, shown, and over when it is gone.
#![allow(clippy::unwrap_used)]

mod damage;
mod kills;
mod kinds;
mod outbox;
mod restored;
mod rewards;
mod schedule;
mod words;

use std::process::Output;

use backstop_domain::reconcile::Report;
use backstop_tests::{World, world::program};
use sqlx::Connection;
use tokio::process::Command;

/// What is checked inside the books: these tests credit their users without the exchange.
const BOOKS: &str = "adopt,seal,books,transit,reservations,intents,rewards,outbox";

/// Runs the real program as an operator would.
async fn backstop(world: &World, words: &[&str]) -> Output {
    let mut command = Command::new(program("backstop"));
    command.args(words).env("TEMPORAL_ADDRESS", world.servers.temporal_address());
    command.env("BACKSTOP_TASK_QUEUE", world.queue()).env("DATABASE_URL", world.database.url());
    command.output().await.unwrap()
}

/// What it says, and its exit status.
async fn says(world: &World, words: &[&str]) -> (String, i32) {
    let output = backstop(world, words).await;
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code().unwrap())
}

/// Checks the books, and what the report says.
async fn check(world: &World) -> Report {
    let output = backstop(world, &["check", "--json", "--only", BOOKS]).await;
    let report: Report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(report.checks.iter().all(|check| check.looked), "{report:?}");
    assert_eq!(output.status.code(), Some(i32::from(report.open_critical > 0)), "{report:?}");
    report
}

/// The open findings after a check, as `kind subject`, in their order.
async fn found(world: &World) -> Vec<String> {
    let mut found: Vec<String> =
        check(world).await.findings.iter().map(|finding| format!("{} {}", finding.kind, finding.subject)).collect();
    found.sort();
    found
}

/// Whether an account is frozen.
async fn is_frozen(world: &World, owner: &str, asset: &str) -> bool {
    let sql = "SELECT frozen_by IS NOT NULL FROM accounts WHERE owner = $1 AND asset = $2";
    sqlx::query_scalar(sql).bind(owner).bind(asset).fetch_one(&mut world.database.owner().await).await.unwrap()
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
