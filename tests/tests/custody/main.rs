//! `Reconcile` against a venue: what is done behind the functions' back, here or there, is found, and nothing else; and it is over
//! when it is undone.
#![allow(clippy::unwrap_used)]

mod balances;
mod deposits;
mod load;
mod markets;
mod orders;
mod payouts;
mod silent;

use backstop_domain::reconcile::{CheckReport, Report};
use backstop_tests::World;

/// Makes every check.
async fn check(world: &World) -> Report {
    world.check_everything().await
}

fn named<'a>(report: &'a Report, check: &str) -> &'a CheckReport {
    report.checks.iter().find(|report| report.check == check).unwrap_or_else(|| panic!("{check}: {report:?}"))
}

async fn finds(world: &World, expected: &[String]) -> Report {
    world.finds(expected).await
}

async fn finds_nothing(world: &World) -> Report {
    world.finds(&[]).await
}

async fn frozen(world: &World) -> Vec<String> {
    world.frozen().await
}

async fn damage(world: &World, sql: String) {
    world.damage(&sql).await;
}
