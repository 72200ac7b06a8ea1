//! The books held against themselves, and against what earlier runs have sealed.

use std::time::Instant;

use backstop_domain::reconcile::{CheckReport, Deviation};
use serde::{Deserialize, Serialize};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{CheckInput, FULL, ReconcileActivities, Sealed, report};
use crate::{
    beat::HEARTBEAT_EVERY,
    books::{Books, BooksError, LostSeal},
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
    #[serde(default)]
    house: Option<String>,
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
                let sums = [&self.transit, &self.house].map(|sum| sum.as_deref().unwrap_or("0"));
                let place = (self.account, self.place);
                let Some(page) = books.books_page(place, sums.into(), PAGE).await? else { return Ok(false) };
                (self.account, self.place) = (page.account, page.version);
                (self.transit, self.house) = (Some(page.transit), Some(page.house));
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

    /// Whether it has seen so much amiss that it looked no further.
    pub fn is_enough(&self) -> bool {
        self.deviations.len() >= DEVIATIONS_MAX
    }
}

impl ReconcileActivities {
    pub(super) async fn check_seal(&self) -> Result<CheckReport, Failure> {
        let again = |message| Failure::Again { kind: "NoMemory", message, after: None };
        let said = self.memory.last_seals().await.map_err(again)?;
        let mut notes = Vec::new();
        let mut deviations = 0;
        for seal in &said {
            let Some(LostSeal { why, is_open, halted }) = self.books.seal_check(seal).await? else {
                notes.push(format!("seal {} of {} entries stands", seal.seq, seal.entries));
                continue;
            };
            deviations += u32::from(is_open);
            notes.push(match (is_open, halted) {
                (false, _) => format!("{why}, for which an operator has answered"),
                (true, true) => format!("{why}; everything is halted"),
                (true, false) => format!("{why}; an operator has resumed, and has not answered for it yet"),
            });
        }
        let note = if said.is_empty() { "no earlier run has sealed anything".to_owned() } else { notes.join("; ") };
        Ok(CheckReport { check: "seal".to_owned(), deviations, note, looked: true, ..CheckReport::default() })
    }

    pub(super) async fn check_news(&self, input: &CheckInput) -> Result<Sealed, Failure> {
        let news = self.books.books_news(NEWS).await?;
        let look = input.look("books", None, &news.deviations);
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
        input: &CheckInput,
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
        let closes_from_ms = (!pass.is_enough()).then_some(0);
        let report = report(&self.books, input.look("books", closes_from_ms, &pass.deviations)).await?;
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
