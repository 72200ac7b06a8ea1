//! `RunStrategy`: ticks one strategy on a fixed grid. A tick is never begun before the one before is over; what is missed
//! meanwhile is skipped and counted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backstop_activities::{
    pauses::{PauseActivities, StopStrategy},
    strategies::{Quote, StartStrategy, StrategyActivities, Tick, TickActivities},
    trading::{Drain, TradingActivities},
};
use backstop_domain::{
    InvalidInput, RefusalKind,
    strategy::{Asked, Look, RunReport, RunRequest, Ticks, Word},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ContinueAsNewOptions, WorkflowCancellationToken, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination,
};

use crate::{
    call::{Named, ledger, venue_options},
    child::Child,
    failure::{StepFailure, classify},
    input::{RawInput, refuse},
    intent::ExecuteIntent,
    progress::{Progress, StepState, Tracked},
    saga::{all_are_answered, begin, note, update},
    search,
    timer::wait_at_most,
    venue_queue,
};

mod pair;
mod words;

use words::{read, say};

type Refused = Box<dyn std::error::Error + Send + Sync>;

/// The history is cut off after this many ticks.
const TICKS_MAX: u32 = 20;
/// How long a component may take before the next gets its turn.
const COMPONENT_MAX: Duration = Duration::from_secs(10);
/// How long the venue may take to end the orders of a strategy that was stopped.
const DRAIN_MAX: Duration = Duration::from_secs(120);

/// Runs a strategy until it is stopped.
#[workflow]
pub struct RunStrategy {
    request: Result<RunRequest, InvalidInput>,
    progress: Progress,
    ticks: Ticks,
    stop: Option<Word>,
    /// How many words were said to this run.
    words: u32,
}

#[workflow_methods]
#[allow(clippy::needless_pass_by_value, clippy::unused_self)] // the signatures that the SDK calls
impl RunStrategy {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        let request = input.read(RunRequest::read);
        let ticks = request.as_ref().map(|request| request.before.clone()).unwrap_or_default();
        Self { request, progress: Progress::default(), ticks, stop: None, words: 0 }
    }

    /// Check the input, also whether the venue has the pair → start the strategy → tick: sync orders and fills, quote → … → stop it and end its orders.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<RunReport> {
        let request = ctx.state(|strategy| strategy.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        ctx.upsert_search_attributes([
            search::USER_ID.value_set(request.user_id.to_string()),
            search::VENUE.value_set(request.venue.to_string()),
            search::STRATEGY_KEY.value_set(request.strategy_key.to_string()),
        ]);
        update(ctx, |progress| {
            progress.operation =
                format!("run strategy {}: {} at {}", request.strategy_key, request.pair, request.venue);
        });
        let run = Run { holder: ctx.workflow_id().to_owned(), request };
        if !run.is_listed(ctx).await? {
            let report = run.over(ctx, "it was stopped before it was started".into()).await;
            return if ctx.cancellation_token().is_cancelled() {
                Err(WorkflowTermination::cancelled())
            } else {
                Ok(report)
            };
        }
        if !run.start(ctx, false).await? {
            let left = run.drain(ctx).await;
            return Ok(run.over(ctx, format!("it was stopped before: {left}")).await);
        }
        let steps = Steps {
            sync: begin(ctx, "sync orders and fills", "none: facts"),
            quote: begin(ctx, "quote", "each intent's own"),
        };
        for _ in 0..TICKS_MAX {
            let Some(place) = run.wait(ctx).await else { return run.stop(ctx).await };
            ctx.state_mut(|strategy| strategy.ticks.begin(place));
            if !run.tick(ctx, &steps, place).await {
                let left = run.drain(ctx).await;
                return Ok(run.over(ctx, format!("it was stopped by somebody else: {left}")).await);
            }
            show(ctx);
        }
        // What came during the last tick would be lost with this run.
        all_are_answered(ctx).await;
        if is_called_off(ctx) {
            return run.stop(ctx).await;
        }
        let ticks = ctx.state(|strategy| strategy.ticks.clone());
        ctx.continue_as_new(RawInput::of(run.request.continued(&ticks)), ContinueAsNewOptions::default())?;
        Ok(run.over(ctx, "goes on".into()).await)
    }

    /// How the strategy stands, component by component.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }

    /// Its ticks: run, missed, and whether it is paused.
    #[query]
    pub fn ticks(&self, _ctx: &WorkflowContextView) -> Ticks {
        self.ticks.clone()
    }

    /// Stops the strategy, ends its orders, and ends the workflow.
    #[update]
    pub fn stop(
        &mut self,
        _ctx: &mut temporalio_sdk::SyncWorkflowContext<Self>,
        input: RawInput,
    ) -> Result<(), Refused> {
        self.stop = Some(read(&input)?);
        Ok(())
    }

    #[update_validator(stop)]
    fn validate_stop(&self, _ctx: &WorkflowContextView, input: &RawInput) -> Result<(), Refused> {
        Ok(read(input).map(drop)?)
    }

    /// Withdraws its quotes, and makes none until it is resumed. Fills are booked all the same.
    #[update]
    pub async fn pause(ctx: &mut WorkflowContext<Self>, input: RawInput) -> Result<(), Refused> {
        Ok(say(ctx, &input, true).await?)
    }

    #[update_validator(pause)]
    fn validate_pause(&self, _ctx: &WorkflowContextView, input: &RawInput) -> Result<(), Refused> {
        Ok(read(input).map(drop)?)
    }

    /// Lets it quote again.
    #[update]
    pub async fn resume(ctx: &mut WorkflowContext<Self>, input: RawInput) -> Result<(), Refused> {
        Ok(say(ctx, &input, false).await?)
    }

    #[update_validator(resume)]
    fn validate_resume(&self, _ctx: &WorkflowContextView, input: &RawInput) -> Result<(), Refused> {
        Ok(read(input).map(drop)?)
    }
}

/// Where the components stand in the table.
struct Steps {
    sync: usize,
    quote: usize,
}

struct Run {
    holder: String,
    request: RunRequest,
}

impl Run {
    /// Starts the strategy, also once more where the books have `lost` it. False when this start is over already.
    async fn start(&self, ctx: &WorkflowContext<RunStrategy>, lost: bool) -> Result<bool, StepFailure> {
        let step = begin(ctx, "start strategy", "stop strategy");
        let input = StartStrategy { request: self.request.clone(), holder: self.holder.clone(), lost };
        let summary = format!("start strategy {}", self.request.strategy_key);
        // Not cancelled half-way: what may have been started has to be stopped.
        let token = WorkflowCancellationToken::new();
        match ledger(ctx, Named::of(&StrategyActivities::start), input, &summary, &token).await {
            Ok(started) => {
                note(ctx, step, StepState::Done, &started.status);
                words::agree(ctx, &self.request, started.paused).await;
                Ok(started.status == "running")
            }
            Err(failure) => {
                note(ctx, step, StepState::Failed, &failure.to_string());
                Err(failure)
            }
        }
    }

    /// Waits for the next place on the grid. `None` when the strategy is to be stopped.
    async fn wait(&self, ctx: &WorkflowContext<RunStrategy>) -> Option<u64> {
        let now_ms = millis_since_1970(ctx.workflow_time());
        let (place, at_ms) = ctx.state(|strategy| strategy.ticks.next(now_ms, self.request.tick));
        let length = Duration::from_millis(at_ms.saturating_sub(now_ms));
        wait_at_most(ctx, length, ctx.wait_condition(|strategy| strategy.stop.is_some())).await;
        (!is_called_off(ctx)).then_some(place)
    }

    /// One tick: each component in its turn, whatever the one before came to. False when the strategy runs no more.
    async fn tick(&self, ctx: &WorkflowContext<RunStrategy>, steps: &Steps, place: u64) -> bool {
        let strategy_key = self.request.strategy_key.to_string();
        let tick = Tick { strategy_key };
        let doing =
            ctx.execute_activity(TickActivities::sync, tick.clone(), self.options(ctx, "sync orders and fills of"));
        let synced = doing.await.map_err(|error| classify(&error));
        if synced.as_ref().is_err_and(is_lost) && self.start(ctx, true).await.is_ok_and(|running| !running) {
            return false;
        }
        let synced = told(ctx, steps.sync, synced);
        if synced.as_ref().is_some_and(|look| !look.running) {
            return false;
        }
        let now_ms = millis_since_1970(ctx.workflow_time());
        let (paused, asked) = ctx.state(|strategy| (strategy.ticks.paused.clone(), strategy.ticks.asked.clone()));
        let (overdue, asked): (Vec<_>, Vec<_>) = asked.into_iter().partition(|asked| asked.is_overdue(now_ms));
        let quote = Quote {
            tick,
            at_ms: place.saturating_mul(u64::try_from(self.request.tick.as_millis()).unwrap_or(u64::MAX)),
            synced: synced.is_some_and(|look| look.skipped.is_none()),
            paused,
            asked: asked.iter().map(|asked| asked.id().to_owned()).collect(),
            overdue: overdue.into_iter().map(|asked| asked.intent).collect(),
        };
        let doing = ctx.execute_activity(TickActivities::quote, quote, self.options(ctx, "quote for"));
        let Some(look) = told(ctx, steps.quote, doing.await.map_err(|error| classify(&error))) else { return true };
        ctx.state_mut(|strategy| strategy.ticks.wait_for(&look.unseen));
        for intent in &look.intents {
            let asked = Asked { at_ms: now_ms, intent: intent.clone() };
            let id = format!("intent/{}", asked.id());
            let token = WorkflowCancellationToken::new();
            let input = || RawInput::of(intent.clone());
            let child = Child { id: &id, summary: "an intent of a tick", input, token: &token };
            // It runs beside the ticks. One that can't be started now is in nobody's books: the next tick wishes anew.
            match child.start(ctx, ExecuteIntent::run).await {
                Ok(_) => ctx.state_mut(|strategy| strategy.ticks.asked.push(asked)),
                Err(failure) => note(ctx, steps.quote, StepState::Failed, &failure.to_string()),
            }
        }
        look.running
    }

    fn options(&self, ctx: &WorkflowContext<RunStrategy>, what: &str) -> ActivityOptions {
        let queue = venue_queue(ctx.task_queue(), self.request.venue.as_str());
        let summary = format!("{what} strategy {}", self.request.strategy_key);
        venue_options(&queue, Some(COMPONENT_MAX), &summary, &ctx.cancellation_token())
    }

    /// Stops the strategy in the books, so that nothing more is sent, and ends its orders.
    async fn stop(&self, ctx: &WorkflowContext<RunStrategy>) -> WorkflowResult<RunReport> {
        let word = ctx.state(|strategy| strategy.stop.clone());
        let (by, reason) = word.map_or_else(
            || (self.request.requested_by.to_string(), "cancelled".to_owned()),
            |word| (word.operator.to_string(), word.reason.to_string()),
        );
        let strategy_key = self.request.strategy_key.to_string();
        let token = WorkflowCancellationToken::new();
        let step = begin(ctx, "stop strategy", "none: starting it again takes a start of its own");
        let input = StopStrategy { strategy_key: strategy_key.clone(), by, reason: reason.clone() };
        let summary = format!("stop strategy {strategy_key}");
        let stopping = || ledger(ctx, Named::of(&PauseActivities::stop), input.clone(), &summary, &token);
        match stopping().await {
            Err(failure) if is_lost(&failure) => {
                self.start(ctx, true).await?;
                stopping().await?;
            }
            stopped => drop(stopped?),
        }
        note(ctx, step, StepState::Done, &reason);
        let left = self.drain(ctx).await;
        let report = self.over(ctx, format!("stopped ({reason}): {left}")).await;
        if ctx.cancellation_token().is_cancelled() { Err(WorkflowTermination::cancelled()) } else { Ok(report) }
    }

    /// Ends the orders of the stopped strategy, whoever stopped it; somebody else may be at it, too. Says what is left.
    async fn drain(&self, ctx: &WorkflowContext<RunStrategy>) -> String {
        let (strategy_key, token) = (self.request.strategy_key.to_string(), WorkflowCancellationToken::new());
        let step = begin(ctx, "drain orders", "none: a cancelled order stays cancelled");
        let queue = venue_queue(ctx.task_queue(), self.request.venue.as_str());
        let summary = format!("cancel the orders of strategy {strategy_key}, book their fills, and end them");
        let options = venue_options(&queue, Some(DRAIN_MAX), &summary, &token);
        let asked = ctx.state(|strategy| strategy.ticks.asked.iter().map(|asked| asked.intent.clone()).collect());
        let drained = ctx.execute_activity(TradingActivities::drain, Drain { strategy_key, asked }, options).await;
        match drained.map_err(|error| classify(&error)) {
            Ok(report) => {
                note(ctx, step, StepState::Done, &report.to_string());
                report.to_string()
            }
            Err(failure) => {
                note(ctx, step, StepState::Failed, &failure.to_string());
                format!("not every order has ended ({failure}); a PauseAndWithdraw ends them")
            }
        }
    }

    async fn over(&self, ctx: &WorkflowContext<RunStrategy>, ended: String) -> RunReport {
        all_are_answered(ctx).await;
        update(ctx, |progress| "stopped".clone_into(&mut progress.state));
        ctx.upsert_search_attributes([search::OPERATION_STATE.value_set("stopped".to_owned())]);
        let ticks = ctx.state(|strategy| strategy.ticks.clone());
        RunReport { strategy_key: self.request.strategy_key.clone(), ticks, ended }
    }
}

fn show(ctx: &WorkflowContext<RunStrategy>) {
    let ticks = ctx.state(|strategy| strategy.ticks.clone());
    let state = match &ticks.paused {
        None => format!("running: {} ticks, {} missed", ticks.run, ticks.missed),
        Some(word) => {
            format!("paused by {} ({}): {} ticks, {} missed", word.operator, word.reason, ticks.run, ticks.missed)
        }
    };
    update(ctx, |progress| progress.state = state);
}

/// Whether the books have forgotten the strategy: they were put back to a moment before its start.
fn is_lost(failure: &StepFailure) -> bool {
    matches!(failure, StepFailure::Refused(refusal) if refusal.kind == RefusalKind::NotFound)
}

/// Shows what a component came to, and gives it where it came to anything.
fn told(ctx: &WorkflowContext<RunStrategy>, step: usize, look: Result<Look, StepFailure>) -> Option<Look> {
    match look {
        Ok(look) => {
            match &look.skipped {
                Some(reason) => note(ctx, step, StepState::Skipped, reason),
                None => note(ctx, step, StepState::Done, &look.said),
            }
            Some(look)
        }
        Err(failure) => {
            note(ctx, step, StepState::Failed, &failure.to_string());
            None
        }
    }
}

fn millis_since_1970(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Tracked for RunStrategy {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

/// Whether somebody has stopped or cancelled it.
fn is_called_off(ctx: &WorkflowContext<RunStrategy>) -> bool {
    ctx.state(|strategy| strategy.stop.is_some()) || ctx.cancellation_token().is_cancelled()
}
