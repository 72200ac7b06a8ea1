//! A saga of three steps and a pivot, whose activities follow a script.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop::serve::connect_temporal;
use backstop_tests::servers::{TEMPORAL_ADDRESS, setting};
use backstop_workflows::{Past, Pivot, Progress, RawInput, Saga, StepFailure, Tracked, Unwound, classify};
use serde::{Deserialize, Serialize};
use temporalio_client::{Client, WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowStartOptions};
use temporalio_common::{ActivityCloseTimeouts, RetryPolicy};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, LocalActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext,
    WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
    runtime::RuntimeOptions,
};
use uuid::Uuid;

/// What an activity does when it is called: each call takes the next word, the last one stays.
#[derive(Clone, Debug)]
pub(crate) enum Word {
    /// Succeeds.
    Ok,
    /// Fails in a way that is tried again.
    Fails,
    /// Refuses for good, with this type.
    Refuses(&'static str),
    /// Never answers, and gives no sign of life.
    Hangs,
}

/// The script by activity and argument, and what was called, in order.
#[derive(Clone, Default)]
pub(crate) struct Script {
    words: Arc<Mutex<HashMap<String, Vec<Word>>>>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub(crate) fn says(self, call: &str, words: &[Word]) -> Self {
        self.words.lock().unwrap().insert(call.to_owned(), words.to_vec());
        self
    }

    pub(crate) fn set(&self, call: &str, word: Word) {
        self.words.lock().unwrap().insert(call.to_owned(), vec![word]);
    }

    /// What was called, each repetition once.
    pub(crate) fn calls(&self) -> Vec<String> {
        let mut calls = self.calls.lock().unwrap().clone();
        calls.dedup();
        calls
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|called| *called == call).count()
    }

    async fn act(&self, call: String) -> Result<String, ActivityError> {
        self.calls.lock().unwrap().push(call.clone());
        let word = {
            let mut words = self.words.lock().unwrap();
            match words.get_mut(&call) {
                None => Word::Ok,
                Some(words) if words.len() > 1 => words.remove(0),
                Some(words) => words[0].clone(),
            }
        };
        match word {
            Word::Ok => Ok(call),
            Word::Fails => Err(ActivityError::application(ApplicationFailure::new(format!("{call} failed")))),
            Word::Refuses(kind) => Err(ActivityError::application(
                ApplicationFailure::builder(format!("{call} refused"))
                    .type_name(kind.to_owned())
                    .non_retryable(true)
                    .details(serde_json::json!({"subject": call}))
                    .build(),
            )),
            Word::Hangs => std::future::pending().await,
        }
    }
}

pub(crate) struct ToyActivities {
    script: Script,
}

#[activities]
impl ToyActivities {
    #[activity(name = "make")]
    pub(crate) async fn make(self: Arc<Self>, _ctx: ActivityContext, what: String) -> Result<String, ActivityError> {
        self.script.act(format!("make {what}")).await
    }

    #[activity(name = "unmake")]
    pub(crate) async fn unmake(self: Arc<Self>, _ctx: ActivityContext, what: String) -> Result<String, ActivityError> {
        self.script.act(format!("unmake {what}")).await
    }
}

/// How the toy ended, told as a value so that every end can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Past(bool),
    Undone(String),
    Classified(String),
}

/// make a (undo), make b (no undo), make c (undo), then the pivot.
#[workflow]
#[derive(Default)]
pub(crate) struct Toy {
    progress: Progress,
}

#[workflow_methods]
impl Toy {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, _input: RawInput) -> WorkflowResult<End> {
        let mut saga = Saga::new(ctx);
        if let Err(failure) = Self::steps(&mut saga).await {
            return Ok(match saga.unwind(failure).await {
                Unwound::Undone(failure) => End::Undone(failure.to_string()),
                Unwound::TooLate(past) => Self::forward(&past, false),
            });
        }
        let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
            schedule_to_close: Duration::from_secs(30),
            start_to_close: Duration::from_secs(30),
        };
        let once = RetryPolicy::builder().maximum_attempts(1).build();
        let options = ActivityOptions::with_close_timeouts(timeouts)
            .cancellation_token(ctx.cancellation_token())
            .retry_policy(once)
            .build();
        Ok(match saga.pivot("pivot", ToyActivities::make, "p".to_owned(), options).await {
            Pivot::Crossed(past, output) => Self::forward(&past, output.is_ok()),
            Pivot::Undone(failure) => End::Undone(failure.to_string()),
        })
    }

    async fn steps(saga: &mut Saga<Self>) -> Result<(), StepFailure> {
        let own = |what: &str| what.to_owned();
        let step = saga.step("make a", &ToyActivities::make, own("a"));
        step.undo("unmake a", &ToyActivities::unmake, &own("a")).run("a").await?;
        let step = saga.step("make b", &ToyActivities::make, own("b"));
        step.no_undo("it changes nothing").run("b").await?;
        let step = saga.step("make c", &ToyActivities::make, own("c"));
        step.undo("unmake c", &ToyActivities::unmake, &own("c")).run("c").await?;
        Ok(())
    }

    fn forward(_past: &Past<Self>, answered: bool) -> End {
        End::Past(answered)
    }

    #[query]
    pub(crate) fn status(&self, _ctx: &WorkflowContextView) -> Progress {
        self.progress.clone()
    }

    #[signal]
    pub(crate) fn resolve(&mut self, _ctx: &mut temporalio_sdk::SyncWorkflowContext<Self>) {
        self.progress.waiting_for = None;
    }
}

impl Tracked for Toy {
    fn shown(&self) -> &Progress {
        &self.progress
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

/// Calls `make x` once, as a local or a regular activity, and tells how the error is understood.
#[workflow]
#[derive(Default)]
pub(crate) struct Once;

#[workflow_methods]
impl Once {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, local: bool) -> WorkflowResult<End> {
        let input = "x".to_owned();
        let result = if local {
            let options = LocalActivityOptions::builder().start_to_close_timeout(Duration::from_secs(5)).build();
            ctx.execute_local_activity(ToyActivities::make, input, options).await
        } else {
            let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
                schedule_to_close: Duration::from_secs(2),
                start_to_close: Duration::from_secs(2),
            };
            let retries = RetryPolicy::builder().initial_interval(Duration::from_millis(100)).build();
            let options = ActivityOptions::with_close_timeouts(timeouts).retry_policy(retries).build();
            ctx.execute_activity(ToyActivities::make, input, options).await
        };
        Ok(End::Classified(format!("{:?}", result.map_err(|error| classify(&error)))))
    }
}

/// A worker in this process, and a client, on a queue of the test's own.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) queue: String,
}

impl Stage {
    /// Plays a test against a worker that follows the script.
    pub(crate) async fn play<T>(script: &Script, play: impl AsyncFnOnce(&Self) -> T) -> T {
        let stage = Self {
            client: connect_temporal(&setting(TEMPORAL_ADDRESS), "default").await.unwrap(),
            queue: format!("toy-{}", Uuid::now_v7()),
        };
        let runtime = Runtime::from_current_tokio(RuntimeOptions::default()).unwrap();
        let options = WorkerOptions::new(&stage.queue)
            .register_workflow::<Toy>()
            .unwrap()
            .register_workflow::<Once>()
            .unwrap()
            .register_activities(ToyActivities { script: script.clone() })
            .graceful_shutdown_period(Duration::from_millis(1))
            .build();
        let mut worker = Worker::new(&runtime, stage.client.clone(), options).unwrap();
        tokio::select! {
            ended = worker.run() => panic!("the worker ended: {ended:?}"),
            result = play(&stage) => result,
        }
    }

    pub(crate) async fn start(&self) -> String {
        let id = format!("toy/{}", Uuid::now_v7());
        let options = WorkflowStartOptions::new(&self.queue, &id).build();
        self.client.start_workflow(Toy::run, RawInput::of(serde_json::Value::Null), options).await.unwrap();
        id
    }

    pub(crate) async fn end(&self, id: &str) -> End {
        let handle = self.client.get_workflow_handle::<Toy>(id);
        handle.get_result(WorkflowGetResultOptions::default()).await.unwrap()
    }

    pub(crate) async fn status(&self, id: &str) -> Progress {
        let handle = self.client.get_workflow_handle::<Toy>(id);
        handle.query(Toy::status, (), WorkflowQueryOptions::default()).await.unwrap()
    }

    /// The steps as `step: state (note)`, for comparing.
    pub(crate) async fn steps(&self, id: &str) -> Vec<String> {
        let steps = self.status(id).await.steps;
        steps.into_iter().map(|step| format!("{}: {:?} ({})", step.step, step.state, step.note)).collect()
    }
}
