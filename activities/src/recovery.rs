//! Starting operations again whose workflow is gone.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream};
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    beat::beating_at,
    books::{Books, BooksError, Unfinished},
    failure::Failure,
};

/// How an operation's workflow is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Runs,
    /// Its last run, of this id, is closed.
    Closed(String),
    /// Temporal knows of none.
    Unknown,
}

/// Starts workflows.
pub trait Starter: Send + Sync {
    /// How the operation's workflow is.
    fn standing<'a>(&'a self, operation: &'a Unfinished) -> BoxFuture<'a, Result<Standing, String>>;

    /// Starts the operation's workflow under its holder's id. False when it is running already.
    fn start<'a>(&'a self, operation: &'a Unfinished) -> BoxFuture<'a, Result<bool, String>>;
}

/// Brings books and workflows together again.
pub struct RecoveryActivities {
    /// The books.
    pub books: Books,
    /// Starts workflows.
    pub starter: Arc<dyn Starter>,
    /// How long an operation may stand still before its workflow is looked for. Only to spare questions: starting a
    /// workflow that runs changes nothing.
    pub quiet: Duration,
}

/// How far a pass over the operations has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The last holder that was looked at.
    pub after: String,
    /// How many were.
    pub seen: usize,
    /// How many were started again.
    pub started: usize,
    /// The first of these.
    pub first: Vec<String>,
    /// How many could not be, and why the first of them could not.
    pub failed: usize,
    /// See `failed`.
    pub why: Option<String>,
}

const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So many at once: Temporal has others to serve.
const AT_ONCE: usize = 16;
/// Temporal answers sooner than that, or not at all.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// So many of those that were started again are named.
const NAMED_MAX: usize = 20;

#[activities]
impl RecoveryActivities {
    /// Starts every operation again that is not over and whose workflow is closed or unknown, under its holder's id. What
    /// the books hold of it answers for what has been done already.
    #[activity(name = "operations_adopt")]
    pub async fn adopt(self: Arc<Self>, ctx: ActivityContext) -> Result<String, ActivityError> {
        let so_far = Mutex::new(ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default());
        beating_at(&ctx, LONGEST_PAUSE, || now(&so_far), async {
            self.adopt_all(&so_far).await?.map_err(|message| Failure::Again {
                kind: "NotStarted",
                message,
                after: None,
            })
        })
        .await
    }
}

impl RecoveryActivities {
    /// Goes on where `so_far` says, and to the end, whatever can't be started on the way. That is told then, and the next
    /// pass begins at the beginning.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn adopt_all(&self, so_far: &Mutex<Adoption>) -> Result<Result<String, String>, BooksError> {
        let mut pass = now(so_far);
        loop {
            let page = self.books.unfinished(self.quiet, &pass.after).await?;
            let Some(last) = page.last() else { break };
            let adopted: Vec<_> = page.iter().map(|operation| self.adopt_one(operation)).collect();
            let mut adopted = stream::iter(adopted).buffer_unordered(AT_ONCE);
            while let Some(adopted) = adopted.next().await {
                pass.add(adopted);
            }
            last.holder.clone_into(&mut pass.after);
            set(so_far, pass.clone());
        }
        set(so_far, Adoption::default());
        Ok(pass.told())
    }

    /// What is about to be done is taken down first: who dies in between has not done it unseen. Gives the holder that was
    /// started again, if it was.
    async fn adopt_one(&self, operation: &Unfinished) -> Result<Option<String>, String> {
        let holder = &operation.holder;
        let gone_run = match in_time(holder, self.starter.standing(operation)).await? {
            Standing::Runs => return Ok(None),
            Standing::Closed(run) => Some(run),
            Standing::Unknown => None,
        };
        let noted = self.books.adoption_note(operation, gone_run.as_deref()).await;
        noted.map_err(|error| format!("{holder} could not be taken down: {error}"))?;
        let new = in_time(holder, self.starter.start(operation)).await?;
        if new {
            tracing::warn!(holder, "had lost its workflow; started again");
        }
        Ok(new.then(|| holder.clone()))
    }
}

impl Adoption {
    fn add(&mut self, adopted: Result<Option<String>, String>) {
        self.seen += 1;
        match adopted {
            Ok(None) => {}
            Ok(Some(holder)) => {
                self.started += 1;
                if self.first.len() < NAMED_MAX {
                    self.first.push(holder);
                }
            }
            Err(why) => {
                tracing::warn!(why, "an operation could not be started again");
                self.failed += 1;
                self.why.get_or_insert(why);
            }
        }
    }

    fn told(self) -> Result<String, String> {
        let Self { seen, started, mut first, failed, why, .. } = self;
        first.sort();
        if let Some(why) = why {
            return Err(format!("{failed} of {seen} operations that are not over could not be started again: {why}"));
        }
        Ok(match started - first.len() {
            _ if started == 0 => format!("{seen} operations are not over; each has its workflow"),
            0 => format!("{seen} operations are not over; started again: {}", first.join(", ")),
            more => format!("{seen} operations are not over; started again: {} and {more} more", first.join(", ")),
        })
    }
}

async fn in_time<T>(holder: &str, answer: BoxFuture<'_, Result<T, String>>) -> Result<T, String> {
    let late = || format!("{holder}: Temporal does not answer within {} s", ANSWER_MAX.as_secs());
    tokio::time::timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_| Err(late()))
}

fn now(so_far: &Mutex<Adoption>) -> Adoption {
    so_far.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(so_far: &Mutex<Adoption>, pass: Adoption) {
    *so_far.lock().unwrap_or_else(PoisonError::into_inner) = pass;
}
