//! Starting operations again whose workflow is gone.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    beat::beating,
    books::{Books, Unfinished},
    failure::Failure,
};

/// Starts workflows.
pub trait Starter: Send + Sync {
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

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[activities]
impl RecoveryActivities {
    /// Starts every operation again that is not over and whose workflow is closed or unknown, under its holder's id. What
    /// the books hold of it answers for what has been done already.
    #[activity(name = "operations_adopt")]
    pub async fn adopt(self: Arc<Self>, ctx: ActivityContext) -> Result<String, ActivityError> {
        beating(&ctx, LONGEST_PAUSE, self.adopt_all()).await
    }
}

impl RecoveryActivities {
    async fn adopt_all(&self) -> Result<String, Failure> {
        let (mut after, mut seen, mut started) = (String::new(), 0, Vec::new());
        loop {
            let page = self.books.unfinished(self.quiet, &after).await?;
            let Some(last) = page.last() else { break };
            last.holder.clone_into(&mut after);
            for operation in &page {
                seen += 1;
                let start = self.starter.start(operation).await;
                let new = start.map_err(|message| Failure::Again { kind: "NotStarted", message, after: None })?;
                if new {
                    tracing::warn!(holder = operation.holder, "had lost its workflow; started again");
                    self.books.adoption_note(operation).await?;
                    started.push(operation.holder.clone());
                }
            }
        }
        Ok(match started.as_slice() {
            [] => format!("{seen} operations are not over; each has its workflow"),
            some => format!("{seen} operations are not over; started again: {}", some.join(", ")),
        })
    }
}
