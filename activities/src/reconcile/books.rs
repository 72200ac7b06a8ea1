//! The books held against themselves, and against what earlier runs have sealed.

use std::time::Instant;

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde::{Deserialize, Serialize};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{FULL, ReconcileActivities, Sealed, report};
use crate::{
    beat::HEARTBEAT_EVERY,
    books::{Books, BooksError},
    failure::Failure,
};

/// Entries in one statement of the full pass: short enough to be no burden, and to keep no snapshot for long.
const PAGE: i32 = 2_000;
/// So many deviations say enough: a full pass goes no further then.
const DEVIATIONS_MAX: usize = 1_000;

/// How far a full pass has come: what its heartbeats carry, so that another worker goes on there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FullPass {
    account: i64,
    version: i64,
    transit: Option<String>,
    balance: i64,
    is_over: bool,
    /// How many entries it has looked at.
    pub entries: i64,
    /// How many accounts.
    pub accounts: i64,
    /// What is wrong with them.
    pub deviations: Vec<Deviation>,
}

impl FullPass {
    /// Looks at the next page: entries, then accounts, then the seals. Returns whether there was one.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn next_page(&mut self, books: &Books) -> Result<bool, BooksError> {
        if self.is_over || self.is_enough() {
            return Ok(false);
        }
        let began = Instant::now();
        if self.accounts == 0
            && let Some(page) = books.books_page((self.account, self.version, self.transit()), PAGE).await?
        {
            (self.account, self.version, self.transit) = (page.account, page.version, Some(page.transit));
            self.entries += page.seen;
            self.deviations.extend(page.deviations.0);
        } else if let Some(page) = books.accounts_page(self.balance, PAGE).await? {
            self.balance = page.account;
            self.accounts += page.seen;
            self.deviations.extend(page.deviations.0);
        } else {
            self.deviations.extend(books.seals_broken().await?);
            self.is_over = true;
        }
        // It rests for twice as long as it works, so that transitions hardly notice.
        tokio::time::sleep(2 * began.elapsed()).await;
        Ok(true)
    }

    fn transit(&self) -> &str {
        self.transit.as_deref().unwrap_or("0")
    }

    /// Whether it has seen so much amiss that it looked no further.
    pub fn is_enough(&self) -> bool {
        self.deviations.len() >= DEVIATIONS_MAX
    }
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
            (Some(why), _) => format!("{why}; everything was halted for it"),
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

    pub(super) async fn check_everything(
        &self,
        ctx: &ActivityContext,
        run: &str,
    ) -> Result<CheckReport, ActivityError> {
        let mut pass: FullPass = ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default();
        let mut beats = tokio::time::interval(HEARTBEAT_EVERY);
        loop {
            let so_far = pass.clone();
            let mut page = std::pin::pin!(pass.next_page(&self.books));
            let more = loop {
                tokio::select! {
                    more = &mut page => break more.map_err(Failure::from)?,
                    _ = beats.tick() => { let _ = ctx.record_heartbeat(so_far.clone()).await; }
                }
            };
            if !more {
                break;
            }
        }
        let report = report(&self.books, "books", run, !pass.is_enough(), &pass.deviations).await?;
        let (_, now) = self.books.watermark(FULL).await.map_err(Failure::from)?;
        self.books.watermark_set(FULL, now).await.map_err(Failure::from)?;
        Ok(CheckReport { note: format!("all {} entries of {} accounts", pass.entries, pass.accounts), ..report })
    }
}
