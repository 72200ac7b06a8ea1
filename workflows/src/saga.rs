//! Sagas: each step declares beside itself how it is undone, and the pivot is a type.
//!
//! A [`Saga`] can be unwound. Its pivot consumes it: what comes out is either undone, or [`Past`], which has no way back.
//! Whether the pivot was crossed is for the books to say: an undo that answers `TooLate` means yes.

use std::{fmt::Display, time::Duration};

use backstop_domain::{Refusal, RefusalKind};
use serde::Serialize;
use serde_json::{Value, json};
use temporalio_common::{
    ActivityDefinition,
    data_converters::{TemporalDeserializable, TemporalSerializable},
};
use temporalio_sdk::{ActivityOptions, WaitConditionOptions, WorkflowCancellationToken, WorkflowContext};

use crate::{
    call::{Named, ledger},
    failure::{StepFailure, classify},
    progress::{Progress, StepState, StepStatus, Tracked},
    timer::wait_out,
};

/// Between two tries of an undo that failed in a way that no retry policy covers.
const UNDO_PAUSE: Duration = Duration::from_secs(10);

/// An undo is data: it can be shown, and it is the same after a replay.
struct Undo {
    step: usize,
    title: String,
    activity: String,
    input: Value,
}

impl Undo {
    /// Tells an undo that wants to know (its input has a field `because`) what made it necessary.
    fn tell(&mut self, failure: &StepFailure) {
        if let Some(because) = self.input.get_mut("because") {
            *because = json!({"kind": failure.kind(), "message": failure.to_string()});
        }
    }
}

/// Steps that can still be undone.
pub struct Saga<W> {
    ctx: WorkflowContext<W>,
    undos: Vec<Undo>,
}

/// A saga past its pivot: it only goes forward, and cancelling does not reach it.
pub struct Past<W> {
    ctx: WorkflowContext<W>,
}

/// What became of an unwinding.
pub enum Unwound<W> {
    /// Everything is undone; here is why it had to be.
    Undone(StepFailure),
    /// It was too late: the pivot had been crossed.
    TooLate(Past<W>),
}

/// What became of a pivot.
pub enum Pivot<W, O> {
    /// Crossed, though the step itself may have failed.
    Crossed(Past<W>, Result<O, StepFailure>),
    /// Not crossed, and everything is undone.
    Undone(StepFailure),
}

/// A step without a word yet on how it is undone.
pub struct Step<'a, W, I, O> {
    saga: &'a mut Saga<W>,
    title: String,
    activity: Named<I, O>,
    input: I,
}

/// A step that can run.
pub struct DeclaredStep<'a, W, I, O> {
    step: Step<'a, W, I, O>,
    undo: Result<Undo, String>,
    token: WorkflowCancellationToken,
}

impl<W: Tracked> Saga<W> {
    /// A saga without steps.
    pub fn new(ctx: &WorkflowContext<W>) -> Self {
        Self { ctx: ctx.clone(), undos: Vec::new() }
    }

    /// The workflow.
    pub fn ctx(&self) -> &WorkflowContext<W> {
        &self.ctx
    }

    /// A step that runs `activity`, a ledger transition.
    pub fn step<A: ActivityDefinition>(
        &mut self,
        title: impl Into<String>,
        activity: &A,
        input: A::Input,
    ) -> Step<'_, W, A::Input, A::Output> {
        Step { saga: self, title: title.into(), activity: Named::new(activity.name()), input }
    }

    /// Runs the step that may carry the saga past its pivot. Until the books have recorded that, cancelling undoes
    /// everything; from then on it changes nothing. The step before it must be the one whose undo knows of the pivot: it
    /// is asked first, and nothing else is undone when it says `TooLate`.
    pub async fn pivot<A>(
        self,
        title: &str,
        activity: A,
        input: A::Input,
        options: ActivityOptions,
    ) -> Pivot<W, A::Output>
    where
        A: ActivityDefinition,
        A::Output: Display,
    {
        let step = begin(&self.ctx, title, "none once it may have been sent");
        let failure = match self.ctx.execute_activity(activity, input, options).await {
            Ok(output) => {
                note(&self.ctx, step, StepState::Done, &output.to_string());
                return Pivot::Crossed(Past { ctx: self.ctx }, Ok(output));
            }
            Err(error) => classify(&error),
        };
        note(&self.ctx, step, StepState::Failed, &failure.to_string());
        match self.unwind(failure.clone()).await {
            Unwound::Undone(failure) => Pivot::Undone(failure),
            Unwound::TooLate(past) => Pivot::Crossed(past, Err(failure)),
        }
    }

    /// For a saga whose books say that a former run has crossed the pivot.
    pub fn already_past(self) -> Past<W> {
        Past { ctx: self.ctx }
    }

    /// Undoes every step in reverse order, untouched by cancellation. An undo is tried until it succeeds; one that is
    /// refused for good waits for an operator and is then tried again.
    pub async fn unwind(mut self, failure: StepFailure) -> Unwound<W> {
        while let Some(mut undo) = self.undos.pop() {
            undo.tell(&failure);
            note(&self.ctx, undo.step, StepState::Undoing, &undo.title);
            match run_undo(&self.ctx, &undo).await {
                Ok(()) => note(&self.ctx, undo.step, StepState::Undone, &failure.to_string()),
                Err(refusal) if refusal.kind == RefusalKind::TooLate => {
                    note(&self.ctx, undo.step, StepState::Done, &refusal.message);
                    return Unwound::TooLate(Past { ctx: self.ctx });
                }
                Err(refusal) => {
                    note(&self.ctx, undo.step, StepState::UndoRefused, &refusal.message);
                    let question =
                        format!("\"{}\" was refused: {refusal}. Remove the cause, then resolve.", undo.title);
                    wait_for_operator(&self.ctx, question).await;
                    self.undos.push(undo);
                }
            }
        }
        Unwound::Undone(failure)
    }
}

impl<'a, W: Tracked, I, O> Step<'a, W, I, O> {
    /// Declares the undo, which has to undo what *may* have run.
    pub fn undo<U>(self, title: impl Into<String>, activity: &U, input: &U::Input) -> DeclaredStep<'a, W, I, O>
    where
        U: ActivityDefinition,
        U::Input: Serialize,
    {
        let undo = Undo {
            step: 0,
            title: title.into(),
            activity: activity.name().to_owned(),
            input: serde_json::to_value(input).unwrap_or_default(),
        };
        let token = self.saga.ctx.cancellation_token();
        DeclaredStep { step: self, undo: Ok(undo), token }
    }

    /// Declares that there is nothing to undo, and why.
    pub fn no_undo(self, reason: impl Into<String>) -> DeclaredStep<'a, W, I, O> {
        let token = self.saga.ctx.cancellation_token();
        DeclaredStep { step: self, undo: Err(reason.into()), token }
    }
}

impl<W: Tracked, I, O> DeclaredStep<'_, W, I, O>
where
    I: TemporalDeserializable + TemporalSerializable + Clone + 'static,
    O: TemporalDeserializable + TemporalSerializable + 'static,
{
    /// Cancelling does not reach the step: for one whose end has to be known, because no undo makes up for it.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { token: WorkflowCancellationToken::new(), ..self }
    }

    /// Runs the step. Its undo is registered before it starts, and forgotten only when a refusal proves that nothing of
    /// ours can have run.
    ///
    /// # Errors
    /// The caller then has to unwind the saga.
    pub async fn run(self, summary: &str) -> Result<O, StepFailure> {
        let Step { saga, title, activity, input } = self.step;
        let shown = match &self.undo {
            Ok(undo) => undo.title.clone(),
            Err(reason) => format!("none: {reason}"),
        };
        let step = begin(&saga.ctx, &title, &shown);
        let registered = self.undo.is_ok();
        saga.undos.extend(self.undo.ok().map(|undo| Undo { step, ..undo }));
        let result = ledger(&saga.ctx, activity, input, summary, &self.token).await;
        match &result {
            Ok(_) => note(&saga.ctx, step, StepState::Done, ""),
            Err(failure) => note(&saga.ctx, step, StepState::Failed, &failure.to_string()),
        }
        if let Err(StepFailure::Refused(refusal)) = &result
            && registered
            && refusal.kind.proves_nothing_of_ours()
        {
            saga.undos.pop();
        }
        result
    }
}

impl<W: Tracked> Past<W> {
    /// The workflow.
    pub fn ctx(&self) -> &WorkflowContext<W> {
        &self.ctx
    }

    /// A ledger transition, untouched by cancellation.
    ///
    /// # Errors
    /// When it is refused for good.
    pub async fn ledger<A>(
        &self,
        title: &str,
        activity: &A,
        input: A::Input,
        summary: &str,
    ) -> Result<A::Output, StepFailure>
    where
        A: ActivityDefinition,
        A::Input: Clone,
    {
        let step = begin(&self.ctx, title, "none: past the pivot");
        let activity = Named::<A::Input, A::Output>::new(activity.name());
        let result = ledger(&self.ctx, activity, input, summary, &WorkflowCancellationToken::new()).await;
        match &result {
            Ok(_) => note(&self.ctx, step, StepState::Done, ""),
            Err(failure) => note(&self.ctx, step, StepState::Failed, &failure.to_string()),
        }
        result
    }

    /// A venue call; `options` carry the token that may end it.
    ///
    /// # Errors
    /// When it was refused, or its time was over.
    pub async fn venue<A>(
        &self,
        title: &str,
        activity: A,
        input: A::Input,
        options: ActivityOptions,
    ) -> Result<A::Output, StepFailure>
    where
        A: ActivityDefinition,
        A::Output: Display,
    {
        let step = begin(&self.ctx, title, "none: past the pivot");
        let result = self.ctx.execute_activity(activity, input, options).await.map_err(|error| classify(&error));
        match &result {
            Ok(output) => note(&self.ctx, step, StepState::Done, &output.to_string()),
            Err(failure) => note(&self.ctx, step, StepState::Failed, &failure.to_string()),
        }
        result
    }
}

async fn run_undo<W: Tracked>(ctx: &WorkflowContext<W>, undo: &Undo) -> Result<(), Refusal> {
    loop {
        let activity = Named::<Value, Value>::new(undo.activity.clone());
        let token = WorkflowCancellationToken::new();
        match ledger(ctx, activity, undo.input.clone(), &format!("undo: {}", undo.title), &token).await {
            Ok(_) => return Ok(()),
            // The row is somebody else's, for ever: nothing of ours ran, or can.
            Err(StepFailure::Refused(refusal)) if refusal.kind.proves_nothing_of_ours() => return Ok(()),
            Err(StepFailure::Refused(refusal)) => return Err(refusal),
            Err(failure) => {
                tracing::warn!(%failure, undo = undo.title, "the undo is tried again");
                wait_out(ctx, UNDO_PAUSE).await;
            }
        }
    }
}

/// Waits until an operator's update has cleared the question.
pub(crate) async fn wait_for_operator<W: Tracked>(ctx: &WorkflowContext<W>, question: String) {
    update(ctx, |progress| progress.waiting_for = Some(question));
    let detached = WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build();
    let waiting = ctx.wait_condition_with_options(|workflow| workflow.shown().waiting_for.is_none(), detached);
    let _ = waiting.await;
}

/// Waits until every update that has been let in is answered: one that comes to its end after its workflow is not heard.
pub(crate) async fn all_are_answered<W>(ctx: &WorkflowContext<W>) {
    let detached = WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build();
    let _ = ctx.wait_condition_with_options(|_| ctx.all_handlers_finished(), detached).await;
}

/// Changes the progress and shows it.
pub(crate) fn update<W: Tracked>(ctx: &WorkflowContext<W>, change: impl FnOnce(&mut Progress)) {
    let text = ctx.state_mut(|workflow| {
        change(workflow.progress());
        workflow.progress().markdown()
    });
    ctx.set_current_details(text);
}

pub(crate) fn begin<W: Tracked>(ctx: &WorkflowContext<W>, title: &str, undo: &str) -> usize {
    let status = StepStatus { step: title.into(), state: StepState::Running, undo: undo.into(), note: String::new() };
    let mut step = 0;
    update(ctx, |progress| {
        step = progress.steps.len();
        progress.steps.push(status);
    });
    step
}

pub(crate) fn note<W: Tracked>(ctx: &WorkflowContext<W>, step: usize, state: StepState, text: &str) {
    update(ctx, |progress| {
        if let Some(status) = progress.steps.get_mut(step) {
            status.state = state;
            text.clone_into(&mut status.note);
        }
    });
}
