//! Whether checks are made at all: one that has not been possible for a while is a finding of its own.

use std::sync::Arc;

use backstop_domain::reconcile::{CheckReport, Deviation, Severity};
use serde::{Deserialize, Serialize};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{CheckInput, LONGEST_PAUSE, report};
use crate::{beat::beating, books::Books, failure::Failure};

/// A check that has not been possible for so long: somebody has to know.
const UNMADE_MS: i64 = 900_000;

/// The input of `checks_made`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChecksMade {
    /// The run.
    pub run: CheckInput,
    /// What each check has come to.
    pub checks: Vec<CheckReport>,
}

/// What is said of the checks themselves.
pub struct MadeActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl MadeActivities {
    /// Notes which checks were made, and finds those that have not been possible for long.
    #[activity(name = "checks_made")]
    pub async fn note(self: Arc<Self>, ctx: ActivityContext, input: ChecksMade) -> Result<CheckReport, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.find_unmade(&input)).await
    }
}

impl MadeActivities {
    async fn find_unmade(&self, input: &ChecksMade) -> Result<CheckReport, Failure> {
        let mut unmade = Vec::new();
        for check in &input.checks {
            let name = made_at(&check.check);
            let (made_ms, now_ms) = self.books.watermark(&name).await?;
            match made_ms {
                Some(made_ms) if !check.looked => {
                    if made_ms < now_ms - UNMADE_MS {
                        unmade.push(not_made(check, made_ms));
                    }
                }
                _ => self.books.watermark_set(&name, now_ms).await?,
            }
        }
        report(&self.books, input.run.look("checks", Some(0), &unmade)).await
    }
}

/// The watermark of when a check was made last; of one that never was, of the first try.
fn made_at(check: &str) -> String {
    format!("made/{check}")
}

fn not_made(check: &CheckReport, made_ms: i64) -> Deviation {
    Deviation {
        kind: "check_not_made".to_owned(),
        subject: format!("check/{}", check.check),
        severity: Severity::Warning,
        measure: None,
        owner: None,
        asset: None,
        evidence: json!({"made_ms": made_ms, "why": check.note}),
    }
}
