//! The books held against themselves, and against what earlier runs have sealed.

use std::time::Instant;

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde::{Deserialize, Serialize};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{FULL, ReconcileActivities, Sealed, report};
use crate::{
    beat::HEARTBEAT_EVERY,
    books::{Books, BooksError, Look},
    failure::Failure,
};

/// Entries in one statement of the full pass: short enough to be no burden, and to keep no snapshot for long.
const PAGE: i32 = 2_000;
/// New entries in one statement.
pub const NEWS: i32 = 20_000;
/// So many deviations say enough: a full pass goes no further then, and a report holds no more.
pub(crate) const DEVIATIONS_MAX: usize = 1_000;

/// Seals in one statement, each with all of its heads.
const SEALS: i32 = 20;

/// What a full pass is looking at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Entries,
    Accounts,
    Heads,
    Seals,
    Over,
}

/// How far a full pass has come: what its heartbeats carry, so that another worker goes on there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FullPass {
    phase: Phase,
    /// Where it is: an account and a version of it or a seal.
    account: i64,
    place: i64,
    transit: Option<String>,
    /// When it began, by the clock of the books, ms since 1970.
    began_ms: Option<i64>,
    /// How many entries it has looked at.
    pub entries: i64,
    /// How many accounts.
    pub accounts: i64,
    /// What is wrong with them.
    pub deviations: Vec<Deviation>,
}

impl FullPass {
    /// Looks at the next page: entries, then accounts, then what was sealed of them, then the seals. Returns whether there
    /// may be more.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn next_page(&mut self, books: &Books) -> Result<bool, BooksError> {
        if self.is_enough() {
            return Ok(false);
        }
        let began = Instant::now();
        if !self.look(books).await? {
            self.phase = match self.phase {
                Phase::Entries => Phase::Accounts,
                Phase::Accounts => Phase::Heads,
                Phase::Heads => Phase::Seals,
                Phase::Seals | Phase::Over => Phase::Over,
            };
            (self.account, self.place) = (0, 0);
        }
        // It rests for twice as long as it works, so that transitions hardly notice.
        tokio::time::sleep(2 * began.elapsed()).await;
        Ok(self.phase != Phase::Over)
    }

    /// One page. Returns whether there was one.
    async fn look(&mut self, books: &Books) -> Result<bool, BooksError> {
        let deviations = match self.phase {
            Phase::Entries => {
                let Some(page) = books.books_page((self.account, self.place, self.transit()), PAGE).await? else {
                    return Ok(false);
                };
                (self.account, self.place, self.transit) = (page.account, page.version, Some(page.transit));
                self.entries += page.seen;
                page.deviations
            }
            Phase::Accounts => {
                let Some(page) = books.accounts_page(self.account, PAGE).await? else { return Ok(false) };
                self.account = page.account;
                self.accounts += page.seen;
                page.deviations
            }
            Phase::Heads => {
                let Some(page) = books.heads_page(self.account, self.place, PAGE).await? else { return Ok(false) };
                (self.account, self.place) = (page.account, page.seq);
                page.deviations
            }
            Phase::Seals => {
                let Some(page) = books.seals_page(self.place, SEALS).await? else { return Ok(false) };
                self.place = page.seq;
                page.deviations
            }
            Phase::Over => return Ok(false),
        };
        self.deviations.extend(deviations.0);
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
        let news = self.books.books_news(NEWS).await?;
        let look = Look { check: "books", run, closes_from_ms: None, deviations: &news.deviations, unclear: &[] };
        let report = report(&self.books, look).await?;
        let seal = self.books.seal(&news.cursor).await?;
        let (last, now) = self.books.watermark(FULL).await?;
        let full = last.map_or("never".to_owned(), |last| format!("{} h ago", (now - last) / 3_600_000));
        let note =
            format!("{} new entries; seal {} of {} entries; all were read {full}", news.seen, seal.seq, seal.entries);
        Ok(Sealed { report: CheckReport { note, ..report }, seal })
    }

    pub(super) async fn check_everything(
        &self,
        ctx: &ActivityContext,
        run: &str,
    ) -> Result<CheckReport, ActivityError> {
        let mut pass: FullPass = ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default();
        if pass.began_ms.is_none() {
            pass.began_ms = Some(self.books.watermark(FULL).await.map_err(Failure::from)?.1);
        }
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
        let closes_from_ms = (!pass.is_enough()).then_some(0);
        // What a look at the new has found since this one began, this one may have come too early for.
        let unclear = self.books.found_since("books", pass.began_ms.unwrap_or(0)).await.map_err(Failure::from)?;
        let look = Look { check: "books", run, closes_from_ms, deviations: &pass.deviations, unclear: &unclear };
        let report = report(&self.books, look).await?;
        let (_, now) = self.books.watermark(FULL).await.map_err(Failure::from)?;
        self.books.watermark_set(FULL, now).await.map_err(Failure::from)?;
        let (stopped, entries, accounts) = (pass.is_enough(), pass.entries, pass.accounts);
        let note = if stopped {
            format!("{entries} entries, and no further: so much is wrong with them")
        } else {
            format!("all {entries} entries of {accounts} accounts")
        };
        Ok(CheckReport { note, ..report })
    }
}
