//! Reconciliation's checks, each an activity of its own, so that each shows its own result and retries.

mod books;
mod custody;
pub(crate) mod deposits;
mod made;
pub(crate) mod orders;
pub(crate) mod payouts;
mod venue;

use std::{sync::Arc, time::Duration};

use backstop_domain::reconcile::{CheckReport, Deviation, Finding, Seal};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

pub use books::{FullPass, NEWS};
pub use custody::{Compare, CustodyActivities, CustodyReport, Holding};
pub use made::{ChecksMade, MadeActivities};
pub use venue::{VenueCheck, VenueChecks};

pub(crate) use books::DEVIATIONS_MAX;

use crate::{
    beat::beating,
    books::{Books, Look},
    failure::Failure,
};

/// For how many findings one run may freeze accounts. More than that are not single accounts that are wrong.
pub const FREEZES_MAX: i32 = 10;
/// How many findings a report shows.
const SHOWN_MAX: i32 = 50;
/// The longest pause before a check that could not be made is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// When the last full pass was over.
const FULL: &str = "books/full";

/// The input of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckInput {
    /// The run, by a name that stays the same when the check is tried again.
    pub run: String,
    /// When it began, by the books' clock, in µs: it closes no finding that another run has seen since.
    #[serde(default)]
    pub began_us: i64,
}

impl CheckInput {
    /// A look of this run at which nothing was unclear.
    fn look<'a>(&'a self, check: &'a str, closes_from_ms: Option<i64>, deviations: &'a [Deviation]) -> Look<'a> {
        Look { check, run: &self.run, closes_from_ms, began_us: self.began_us, deviations, unclear: &[] }
    }
}

/// What a run has to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The venues that there are.
    pub venues: Vec<String>,
    /// When it began, by the books' clock, in µs.
    #[serde(default)]
    pub began_us: i64,
}

/// What is open.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OpenFindings {
    /// How many critical ones.
    pub critical: u32,
    /// How many warnings.
    pub warnings: u32,
    /// For how many of both somebody answers.
    #[serde(default)]
    pub answered: u32,
    /// The first of them.
    pub first: Vec<Finding>,
}

/// What a check of the entries came to, and the seal that it left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// What it came to.
    pub report: CheckReport,
    /// The seal.
    pub seal: Seal,
}

/// Remembers what earlier runs have sealed, elsewhere than in the books.
pub trait Memory: Send + Sync {
    /// The highest seal that a run has said, and the newest, which is another one where books were put back meanwhile.
    fn last_seals(&self) -> BoxFuture<'_, Result<Vec<Seal>, String>>;
}

/// The checks of the books.
pub struct ReconcileActivities {
    /// The books.
    pub books: Books,
    /// What earlier runs have sealed.
    pub memory: Arc<dyn Memory>,
}

#[activities]
impl ReconcileActivities {
    /// Says what a run has to do.
    #[activity(name = "reconcile_plan")]
    pub async fn plan(self: Arc<Self>, ctx: ActivityContext) -> Result<Plan, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, async {
            Ok(Plan { venues: self.books.venues().await?, began_us: self.books.now_us().await? })
        })
        .await
    }

    /// Holds the books against what the last run has sealed. Put back, or rewritten, they are halted as a whole.
    #[activity(name = "check_seal")]
    pub async fn seal(self: Arc<Self>, ctx: ActivityContext, _input: CheckInput) -> Result<CheckReport, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.check_seal()).await
    }

    /// Holds every new entry against the one before it, every balance that moved against its last entry; and seals them.
    #[activity(name = "check_books")]
    pub async fn news(self: Arc<Self>, ctx: ActivityContext, input: CheckInput) -> Result<Sealed, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.check_news(&input)).await
    }

    /// The same for all of the books, page by page, and for all that was ever sealed.
    #[activity(name = "check_books_full")]
    pub async fn full(self: Arc<Self>, ctx: ActivityContext, input: CheckInput) -> Result<CheckReport, ActivityError> {
        self.check_everything(&ctx, &input).await
    }

    /// Money in transit against the open payouts.
    #[activity(name = "check_transit")]
    pub async fn transit(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CheckInput,
    ) -> Result<CheckReport, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.check("transit", &input, "money in transit, payout by payout")).await
    }

    /// What is locked against the reservations, and these against what they are for.
    #[activity(name = "check_reservations")]
    pub async fn reservations(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CheckInput,
    ) -> Result<CheckReport, ActivityError> {
        let checked = self.check("reservations", &input, "locked balances and open reservations");
        beating(&ctx, LONGEST_PAUSE, checked).await
    }

    /// Intents against their orders, their receipts and the clock.
    #[activity(name = "check_intents")]
    pub async fn intents(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CheckInput,
    ) -> Result<CheckReport, ActivityError> {
        beating(
            &ctx,
            LONGEST_PAUSE,
            self.check("intents", &input, "intents that are not over, or were over within a day"),
        )
        .await
    }

    /// Rewards against their parts, and both against the entries.
    #[activity(name = "check_rewards")]
    pub async fn rewards(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CheckInput,
    ) -> Result<CheckReport, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.check("rewards", &input, "rewards of the last day, part by part")).await
    }

    /// Endpoints that don't get their events.
    #[activity(name = "check_outbox")]
    pub async fn outbox(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CheckInput,
    ) -> Result<CheckReport, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.check("outbox", &input, "events that wait to be delivered")).await
    }

    /// What is open.
    #[activity(name = "findings_open")]
    pub async fn open(self: Arc<Self>, ctx: ActivityContext) -> Result<OpenFindings, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, async {
            let (critical, warnings, answered) = self.books.findings_open().await?;
            let first = self.books.findings(false, SHOWN_MAX).await?;
            let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
            let (critical, warnings, answered) = (count(critical), count(warnings), count(answered));
            Ok(OpenFindings { critical, warnings, answered, first })
        })
        .await
    }
}

impl ReconcileActivities {
    async fn check(&self, name: &'static str, input: &CheckInput, of_what: &str) -> Result<CheckReport, Failure> {
        let deviations = self.books.check(name).await?;
        let report = report(&self.books, input.look(name, Some(0), &deviations)).await?;
        Ok(CheckReport { note: of_what.to_owned(), ..report })
    }
}

/// Takes down what a check has come to. So much as a report holds says enough: then nothing is closed.
pub(crate) async fn report(books: &Books, look: Look<'_>) -> Result<CheckReport, Failure> {
    for deviation in look.deviations {
        tracing::warn!(look.check, kind = deviation.kind, subject = deviation.subject, "deviates");
    }
    let look = match look.deviations.get(..DEVIATIONS_MAX) {
        Some(deviations) => Look { deviations, closes_from_ms: None, ..look },
        None => look,
    };
    Ok(books.findings_report(&look, FREEZES_MAX).await?)
}
