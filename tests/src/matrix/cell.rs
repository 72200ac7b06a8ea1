//! One cell: a saga, a fault, a world of its own. First the fault, then the way to a lawful end without it.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use backstop::stack::wait_until;
use futures::FutureExt;
use serde_json::json;

use super::{
    act, checker,
    dice::Dice,
    faults::Fault,
    flow,
    golden::Variant,
    operation::{Disturbed, Operation, Order},
};
use crate::{World, servers::Own};

/// How long a saga may take to its end once nothing is in its way.
const CONVERGES_WITHIN: Duration = Duration::from_secs(60);
/// How long a whole cell may take.
const CELL_MAX: Duration = Duration::from_secs(240);
/// Between two looks at a world on its way to the end.
const TICK: Duration = Duration::from_secs(1);
/// How long what was given up on may still run in the worker.
const QUIET_WITHIN: Duration = Duration::from_secs(20);

/// A saga and a fault.
#[derive(Clone)]
pub struct Cell {
    operation: Arc<dyn Operation>,
    fault: Fault,
    seed: u64,
    broken: Option<&'static str>,
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.command())
    }
}

impl Cell {
    /// A cell.
    pub fn new(operation: Arc<dyn Operation>, fault: Fault, seed: u64) -> Self {
        Self { operation, fault, seed, broken: None }
    }

    /// The same with a part of the program broken on purpose, see `failpoint::broken`.
    #[must_use]
    pub fn with_broken(self, part: &'static str) -> Self {
        Self { broken: Some(part), ..self }
    }

    /// The column.
    pub fn saga(&self) -> &'static str {
        self.operation.name()
    }

    /// The row.
    pub fn kind(&self) -> &'static str {
        self.fault.kind()
    }

    /// Column and row.
    pub fn row(&self) -> String {
        format!("{}/{}", self.saga(), self.kind())
    }

    /// Its name, which is unique.
    pub fn name(&self) -> String {
        [self.row(), self.fault.place()].join("/").trim_end_matches('/').to_owned()
    }

    /// The command that runs it again.
    pub fn command(&self) -> String {
        format!("make fault-matrix CELL='{}' SEED={}", self.name(), self.seed)
    }

    /// Runs it, and says what was wrong.
    pub async fn run(&self) -> Vec<String> {
        let running = AssertUnwindSafe(self.run_unguarded()).catch_unwind();
        match tokio::time::timeout(CELL_MAX, running).await {
            Ok(Ok(wrong)) => wrong,
            Ok(Err(panic)) => vec![said(panic.as_ref())],
            Err(_) => vec![format!("it was not over within {CELL_MAX:?}")],
        }
    }

    async fn run_unguarded(&self) -> Vec<String> {
        let dice = Dice::new(&self.name(), self.seed);
        let own = self.fault.own();
        // What has lost its workflow, or its books, is found by the watch.
        let terminated = matches!(self.fault, Fault::Terminated { .. });
        let watched = own.postgres || own.temporal || terminated && self.operation.is_watched();
        // What is sent after Postgres is back is still to pay.
        let patient = own.postgres;
        let mut run = Run::new(&self.operation, own, (watched, patient), dice, self.broken).await;
        let mut wrong = match AssertUnwindSafe(act::act(&mut run, &self.fault)).catch_unwind().await {
            Ok(wrong) => wrong,
            Err(panic) => vec![said(panic.as_ref())],
        };
        if !wrong.is_empty() && self.broken.is_none() {
            wrong.push(run.world.keep_evidence(&[run.order.id.clone(), run.order.other_id()]).await);
        }
        run.world.servers.stop().await;
        wrong
    }
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// What goes on beside a cell, and ends with it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An operation under way in its world.
pub(super) struct Run {
    pub(super) world: World,
    pub(super) operation: Arc<dyn Operation>,
    pub(super) order: Order,
    pub(super) dice: Dice,
    /// The watch starts again what has lost its workflow.
    pub(super) watched: bool,
    /// What others do, once it was started.
    meanwhile: OnceLock<Option<AbortOnDrop>>,
    /// Withdrawals take for ever, until the faults end.
    stuck: bool,
    wrong: Vec<String>,
}

impl Run {
    /// A world with an operation that can be started. With `patient`, the exchange takes a request so long after it was
    /// signed that a delay on the way is no fault.
    pub(super) async fn new(
        operation: &Arc<dyn Operation>,
        own: Own,
        (watched, patient): (bool, bool),
        mut dice: Dice,
        broken: Option<&'static str>,
    ) -> Self {
        let mut world = World::without_worker_on(own).await;
        if let Some(part) = broken {
            world.arm(&format!("broken.{part}"), "yes");
        }
        if patient {
            world.receive_window_ms = 8_000;
        }
        if watched {
            world.settings.push(("BACKSTOP_WATCH_EVERY_MS", "2000"));
        }
        world.exchange.set(json!({"dedupe": dice.pick(&["none", "dedupe", "duplicate_error"])})).await;
        world.start_worker().await;
        let order = operation.prepare(&world).await;
        let operation = Arc::clone(operation);
        Self { world, operation, order, dice, watched, meanwhile: OnceLock::new(), stuck: false, wrong: Vec::new() }
    }

    /// Starts it under its own id, again or for the first time.
    pub(super) async fn start(&self) {
        self.meanwhile.get_or_init(|| {
            let others = self.operation.meanwhile(&self.world, &self.order)?;
            Some(AbortOnDrop(tokio::spawn(others)))
        });
        flow::start(&self.world, self.operation.as_ref(), &self.order.id, &self.order, 1).await;
    }

    /// Starts it in the surroundings of a variant.
    pub(super) async fn begin(&mut self, variant: &Variant) {
        match variant {
            Variant::Plain => {}
            Variant::Refused => {
                let (path, fault) = self.operation.refusal();
                self.world.exchange.fault_for_all(path, fault).await;
            }
            Variant::Cancelled { at } => self.world.arm(at, "hang"),
            Variant::Unconfirmed => {
                self.stuck = true;
                self.operation.hurry(&mut self.order.input, 1);
                self.world.exchange.set(json!({"complete_after_ms": 600_000})).await;
            }
        }
        self.start().await;
        if let Variant::Cancelled { at } = variant {
            self.world.held_at(at).await;
        }
    }

    /// Waits until the variant's own thing has happened.
    pub(super) async fn pass_through(&mut self, variant: &Variant) {
        let id = self.order.id.clone();
        match variant {
            Variant::Plain => {}
            Variant::Refused => {
                let ended = flow::ended(&self.world.client, &id);
                tokio::time::timeout(CONVERGES_WITHIN, ended).await.expect("the refusal ends it");
            }
            Variant::Cancelled { .. } => {
                flow::cancel(&self.world, &id).await;
                self.sees_that_it_is_cancelled().await;
            }
            Variant::Unconfirmed => {
                let asked = async || flow::waiting_for(&self.world, &id).await.is_some();
                assert!(wait_until(CONVERGES_WITHIN, asked).await, "no operator is called");
            }
        }
    }

    /// Waits until it has answered to being cancelled.
    pub(super) async fn sees_that_it_is_cancelled(&self) {
        let seen = async || flow::has_seen_cancel(&self.world, &self.order.id).await;
        assert!(wait_until(CONVERGES_WITHIN, seen).await, "nobody sees that it is cancelled");
    }

    /// Holds it at a failpoint.
    pub(super) async fn hold(&mut self, at: &str) {
        self.world.arm(at, "hang");
        self.start().await;
        self.world.held_at(at).await;
    }

    /// What must hold at every moment, looked at now.
    pub(super) async fn is_safe(&mut self) {
        let wrong = checker::safety(&self.world).await;
        self.tell(wrong);
    }

    /// Each thing that is wrong is told once.
    fn tell(&mut self, wrong: Vec<String>) {
        for what in wrong {
            if !self.wrong.contains(&what) {
                self.wrong.push(what);
            }
        }
    }

    /// Ends all faults, waits for its end, and judges the world.
    pub(super) async fn finish_alone(&mut self, disturbed: &'static [Disturbed]) -> Vec<String> {
        let id = self.order.id.clone();
        self.finish(&[(id, disturbed)]).await
    }

    /// The same for several workflows of one operation.
    pub(super) async fn finish(&mut self, workflows: &[(String, &[Disturbed])]) -> Vec<String> {
        self.end_faults().await;
        let mut ends = Vec::new();
        for (id, disturbed) in workflows {
            let Some(end) = self.ended(id, false).await else { return std::mem::take(&mut self.wrong) };
            if !disturbed.iter().any(|disturbed| self.operation.ends(*disturbed).contains(&end.as_str())) {
                self.wrong.push(format!("{id} ended {end}"));
            }
            ends.push(end);
        }
        // Of several that did the same, one got through.
        let got_through = |end: &String| self.operation.ends(Disturbed::Not).contains(&end.as_str());
        if ends.len() > 1 && !ends.iter().any(got_through) {
            self.wrong.push(format!("none of them got through: {ends:?}"));
        }
        self.is_quiet().await;
        if self.operation.may_go_on(&self.world, &self.order).await {
            self.is_safe().await;
            self.start().await;
            let id = self.order.id.clone();
            let Some(end) = self.ended(&id, false).await else { return std::mem::take(&mut self.wrong) };
            if !self.operation.ends(Disturbed::Not).contains(&end.as_str()) {
                self.wrong.push(format!("{id}, started again, ended {end}"));
            }
        }
        if self.operation.leaves_children() {
            self.settle().await;
        } else {
            let wrong = checker::final_state(&self.world).await;
            self.tell(wrong);
        }
        let wrong = self.operation.wrong(&self.world, &self.order, &ends).await;
        self.tell(wrong);
        std::mem::take(&mut self.wrong)
    }

    /// The same where nobody starts it again but the watch, and only if the books say that it is not over.
    pub(super) async fn finish_by_the_watch(&mut self) -> Vec<String> {
        self.end_faults().await;
        let id = self.order.id.clone();
        let over = async || !self.world.is_unfinished(&id).await;
        if !wait_until(CONVERGES_WITHIN, over).await {
            self.wrong.push(format!("{id} was not taken up within {CONVERGES_WITHIN:?}"));
            return std::mem::take(&mut self.wrong);
        }
        self.is_quiet().await;
        self.settle().await;
        std::mem::take(&mut self.wrong)
    }

    /// Judges the world once its children have ended, which they do by themselves.
    async fn settle(&mut self) {
        let mut wrong = Vec::new();
        let settled = async || {
            wrong = checker::final_state(&self.world).await;
            wrong.is_empty()
        };
        wait_until(CONVERGES_WITHIN, settled).await;
        self.tell(wrong);
    }

    /// The same where the books have lost history.
    pub(super) async fn finish_with_restored_books(&mut self) -> Vec<String> {
        self.end_faults().await;
        let id = self.order.id.clone();
        let Some(end) = self.ended(&id, true).await else { return std::mem::take(&mut self.wrong) };
        // What its workflow can't know any more, because it is over, the watch or reconciliation finds and sets right, or
        // tells.
        let mut deviations = Vec::new();
        let told = async || {
            if self.operation.is_reconciled() {
                flow::reconcile(&self.world).await;
            }
            let question = flow::waiting_for(&self.world, &id).await;
            deviations = checker::final_state_of_restored_books(&self.world, question.as_deref()).await;
            deviations.is_empty()
        };
        if !wait_until(CONVERGES_WITHIN, told).await {
            self.wrong.push(format!("it ended {end}"));
        }
        self.wrong.extend(deviations);
        std::mem::take(&mut self.wrong)
    }

    async fn end_faults(&mut self) {
        let exchange = &self.world.exchange;
        exchange.come_back().await;
        exchange.end_faults().await;
        if self.stuck {
            exchange.set(json!({"complete_after_ms": 300})).await;
            for made in exchange.all_withdrawals().await {
                exchange.force(&made.id, "completed").await;
            }
        }
        self.world.disarm_all();
    }

    /// Waits for a workflow's end, with a worker that is started again whenever it dies, and looks on. With
    /// `or_waiting`, an operator who is asked is an end, too. `None` when it does not end.
    async fn ended(&mut self, id: &str, or_waiting: bool) -> Option<String> {
        let client = self.world.client.clone();
        let mut ended = pin!(flow::ended(&client, id));
        let until = tokio::time::Instant::now() + CONVERGES_WITHIN;
        loop {
            if let Ok(end) = tokio::time::timeout(TICK, &mut ended).await {
                return Some(end);
            }
            self.world.keep_worker().await;
            if !or_waiting {
                self.is_safe().await;
            } else if flow::waiting_for(&self.world, id).await.is_some() {
                return Some("waiting for an operator".into());
            }
            // Where the books have lost what nobody can give back, a person has to: somebody down the line asks for one.
            if or_waiting
                && tokio::time::Instant::now() + CONVERGES_WITHIN / 2 > until
                && checker::is_told(&self.world).await
            {
                return Some("told by a critical finding".into());
            }
            if tokio::time::Instant::now() > until {
                let question = flow::waiting_for(&self.world, id).await;
                self.wrong.push(format!("{id} did not end within {CONVERGES_WITHIN:?}, asks {question:?}"));
                return None;
            }
        }
    }

    /// What was given up on may still be under way in the worker, and is to be judged as well.
    async fn is_quiet(&mut self) {
        if !wait_until(QUIET_WITHIN, async || self.world.is_quiet()).await {
            self.wrong.push(format!("an activity is still running: {:?}", self.world.passed()));
        }
    }
}
