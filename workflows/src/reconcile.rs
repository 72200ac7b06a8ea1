//! `Reconcile`: looks for whatever went wrong in spite of everything: the books against themselves, against the clock, and
//! against what an earlier run has sealed.

mod venues;

use std::time::Duration;

use backstop_activities::{
    reconcile::{CheckInput, OpenFindings, Plan, ReconcileActivities, Sealed},
    recovery::RecoveryActivities,
};
use backstop_domain::{
    InvalidInput,
    reconcile::{CheckReport, ReconcileRequest, Report},
};
use temporalio_common::{
    ActivityDefinition,
    data_converters::{TemporalDeserializable, TemporalSerializable},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination};

use crate::{
    call::{adopt_options, check_options},
    failure::{StepFailure, classify},
    input::{RawInput, refuse},
    progress::{Progress, StepState, Tracked},
    saga::{begin, note, update},
    search,
};

/// How long one check may take, with everything that is tried again.
const CHECK: Duration = Duration::from_secs(60);
/// How long what is new may take: reconciliation may have been away for long.
const NEWS: Duration = Duration::from_secs(600);
/// How long a full pass may take.
const FULL: Duration = Duration::from_secs(4 * 3_600);

/// One reconciliation.
#[workflow]
pub struct Reconcile {
    request: Result<ReconcileRequest, InvalidInput>,
    progress: Progress,
    report: Report,
}

type Ctx = WorkflowContext<Reconcile>;

#[workflow_methods]
impl Reconcile {
    #[init]
    #[allow(clippy::needless_pass_by_value)] // the signature that the SDK calls
    fn new(_ctx: &WorkflowContextView, input: RawInput) -> Self {
        let request =
            input.read_optional(|value| value.map_or_else(|| Ok(ReconcileRequest::default()), ReconcileRequest::read));
        Self { request, progress: Progress::default(), report: Report::default() }
    }

    /// One check after the other. One that can't be made is told, and keeps no other from being made.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Report> {
        let request = ctx.state(|run| run.request.clone()).map_err(|invalid| refuse(invalid.into()))?;
        update(ctx, |progress| {
            "reconcile".clone_into(&mut progress.operation);
            "checking".clone_into(&mut progress.state);
        });
        let plan = ctx.execute_activity(ReconcileActivities::plan, (), quick(ctx, "see what is to be done")).await;
        let plan: Plan = plan.map_err(|error| WorkflowTermination::from(classify(&error)))?;
        let run = format!("{}/{}", ctx.workflow_id(), ctx.run_id());
        let input = CheckInput { run, began_us: plan.began_us };
        if request.wants("adopt") {
            adopt(ctx).await;
        }
        if request.wants("seal") {
            check(ctx, "seal", ReconcileActivities::seal, input.clone()).await;
        }
        if request.wants("books") {
            news(ctx, &input).await;
        }
        if request.wants("transit") {
            check(ctx, "transit", ReconcileActivities::transit, input.clone()).await;
        }
        if request.wants("reservations") {
            check(ctx, "reservations", ReconcileActivities::reservations, input.clone()).await;
        }
        if request.wants("intents") {
            check(ctx, "intents", ReconcileActivities::intents, input.clone()).await;
        }
        if request.wants("rewards") {
            check(ctx, "rewards", ReconcileActivities::rewards, input.clone()).await;
        }
        if request.wants("outbox") {
            check(ctx, "outbox", ReconcileActivities::outbox, input.clone()).await;
        }
        if request.wants("venues") {
            venues::check(ctx, &plan.venues, &input).await;
        }
        // The one that takes long keeps no other waiting: its schedule is its own.
        if request.wants("books") && request.full {
            full(ctx, &input).await;
        }
        if ctx.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        let open = ctx.execute_activity(ReconcileActivities::open, (), quick(ctx, "see what is open")).await;
        Ok(conclude(ctx, open.map_err(|error| WorkflowTermination::from(classify(&error)))?))
    }

    /// What each check has come to.
    #[query]
    pub fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }
}

/// Starts operations again whose workflow is gone: the safe repair of what has lost it.
async fn adopt(ctx: &Ctx) {
    let step = begin(ctx, "adopt", "none");
    let options = adopt_options("start again what has lost its workflow", &ctx.cancellation_token());
    let adopted = ctx.execute_activity(RecoveryActivities::adopt, (), options).await;
    let report = adopted.map(|note| CheckReport { note, looked: true, ..CheckReport::default() });
    told(ctx, step, "adopt", report.map_err(|error| classify(&error)));
}

async fn news(ctx: &Ctx, input: &CheckInput) {
    let step = begin(ctx, "books", "none: a look");
    let options = check_options(NEWS, "check new entries", &ctx.cancellation_token());
    let news = ctx.execute_activity(ReconcileActivities::news, input.clone(), options).await;
    match news {
        Ok(Sealed { report, seal }) => {
            ctx.upsert_search_attributes([search::BOOKS_SEAL.value_set(seal.to_string())]);
            ctx.state_mut(|run| run.report.seal = Some(seal));
            told(ctx, step, "books", Ok(report));
        }
        Err(error) => told(ctx, step, "books", Err(classify(&error))),
    }
}

async fn full(ctx: &Ctx, input: &CheckInput) {
    let step = begin(ctx, "all of the books", "none: a look");
    let options = check_options(FULL, "check all entries", &ctx.cancellation_token());
    let all = ctx.execute_activity(ReconcileActivities::full, input.clone(), options).await;
    told(ctx, step, "all of the books", all.map_err(|error| classify(&error)));
}

async fn check<A>(ctx: &Ctx, name: &str, activity: A, input: CheckInput)
where
    A: ActivityDefinition<Input = CheckInput, Output = CheckReport>,
    CheckInput: TemporalSerializable + TemporalDeserializable,
{
    let step = begin(ctx, name, "none: a look");
    let checked = ctx.execute_activity(activity, input, quick(ctx, &format!("check {name}"))).await;
    told(ctx, step, name, checked.map_err(|error| classify(&error)));
}

fn quick(ctx: &Ctx, summary: &str) -> ActivityOptions {
    check_options(CHECK, summary, &ctx.cancellation_token())
}

/// Shows what a check has come to, and keeps it for the report.
fn told(ctx: &Ctx, step: usize, check: &str, result: Result<CheckReport, StepFailure>) {
    let report = match result {
        Ok(report) => CheckReport { check: check.to_owned(), ..report },
        Err(failure) => CheckReport { check: check.to_owned(), note: failure.to_string(), ..CheckReport::default() },
    };
    match (report.looked, report.deviations) {
        (true, 0) => note(ctx, step, StepState::Done, &report.note),
        (false, 0) => note(ctx, step, StepState::Failed, &report.note),
        (_, deviations) => note(
            ctx,
            step,
            StepState::Failed,
            &format!(
                "{deviations} deviations, {} of them new, {} accounts frozen: {}",
                report.opened, report.frozen, report.note
            ),
        ),
    }
    ctx.state_mut(|run| run.report.checks.push(report));
}

fn conclude(ctx: &Ctx, open: OpenFindings) -> Report {
    let report = ctx.state_mut(|run| {
        let blind = run.report.checks.iter().filter(|check| !check.looked).count();
        run.report.summary = match (open.critical, open.warnings, blind) {
            (0, 0, 0) => "nothing is wrong".to_owned(),
            (critical, warnings, blind) => format!(
                "{critical} critical findings and {warnings} warnings are open, {} of them answered for; {blind} checks could \
                 not be made",
                open.answered
            ),
        };
        run.report.open_critical = open.critical;
        run.report.open_warnings = open.warnings;
        run.report.findings = open.first;
        run.report.clone()
    });
    update(ctx, |progress| report.summary.clone_into(&mut progress.state));
    report
}

impl Tracked for Reconcile {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
