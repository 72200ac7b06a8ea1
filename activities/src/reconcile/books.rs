//! The books held against themselves, and against what earlier runs have sealed.

use std::time::Instant;

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde::{Deserialize, Serialize};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{FULL, ReconcileActivities, Sealed, report};
use crate::failure::Failure;

/// Entries in one statement of the full pass: short enough to be no burden, and to keep no snapshot for long.
const PAGE: i32 = 2_000;
/// So many deviations say enough: a full pass goes no further then.
const DEVIATIONS_MAX: usize = 1_000;

/// How far a full pass has come: what its heartbeats carry, so that another worker goes on there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Position {
    account: i64,
    version: i64,
    entries: i64,
    deviations: Vec<Deviation>,
}

impl ReconcileActivities {
    pub(super) async fn check_seal(&self) -> Result<CheckReport, Failure> {
        let again = |message| Failure::Again { kind: "NoMemory", message, after: None };
        let last = self.memory.last_seal().await.map_err(again)?;
        let wrong = match &last {
            Some(seal) => self.books.seal_check(seal).await?,
            None => None,
        };
        let note = match (&wrong, last) {
            (Some(why), _) => format!("{why}: everything is halted"),
            (None, Some(seal)) => format!("seal {} of {} entries stands", seal.seq, seal.entries),
            (None, None) => "no earlier run has sealed anything".to_owned(),
        };
        let deviations = u32::from(wrong.is_some());
        Ok(CheckReport { check: "seal".to_owned(), deviations, note, looked: true, ..CheckReport::default() })
    }

    pub(super) async fn check_news(&self, run: &str) -> Result<Sealed, Failure> {
        let news = self.books.books_news().await?;
        let report = report(&self.books, "books", run, false, &news.deviations).await?;
        let seal = self.books.seal(&news.cursor).await?;
        let note = format!("{} new entries; seal {} of {} entries", news.seen, seal.seq, seal.entries);
        Ok(Sealed { report: CheckReport { note, ..report }, seal })
    }

    /// Works for as long as it rests, so that transitions hardly notice.
    pub(super) async fn check_everything(&self, ctx: &ActivityContext, run: &str) -> Result<CheckReport, ActivityError> {
        let mut at: Position = ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default();
        while at.deviations.len() < DEVIATIONS_MAX {
            let began = Instant::now();
            let page = self.books.books_page(at.account, at.version, PAGE).await.map_err(Failure::from)?;
            let Some(page) = page else { break };
            (at.account, at.version) = (page.account, page.version);
            at.entries += page.seen;
            at.deviations.extend(page.deviations.0);
            let _ = ctx.record_heartbeat(at.clone()).await;
            tokio::time::sleep(began.elapsed()).await;
        }
        let mut accounts = 0;
        let mut after = 0;
        while let Some(page) = self.books.accounts_page(after, PAGE).await.map_err(Failure::from)? {
            after = page.account;
            accounts += page.seen;
            at.deviations.extend(page.deviations.0);
            let _ = ctx.record_heartbeat(at.clone()).await;
        }
        at.deviations.extend(self.books.seals_broken().await.map_err(Failure::from)?);
        let complete = at.deviations.len() < DEVIATIONS_MAX;
        let report = report(&self.books, "books", run, complete, &at.deviations).await?;
        let (_, now) = self.books.watermark(FULL).await.map_err(Failure::from)?;
        self.books.watermark_set(FULL, now).await.map_err(Failure::from)?;
        Ok(CheckReport { note: format!("all {} entries of {accounts} accounts", at.entries), ..report })
    }
}
