//! Goal: one command brings everything up, Ctrl-C stops all of it and nothing else, and what was in the middle of a saga
//! is finished after the next start.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use backstop::stack::wait_until;
use backstop_tests::{servers::lasting_port, world::program};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(90);

/// Where a stack lives: its ports and its state.
struct Place {
    state: PathBuf,
    ports: [u16; 5],
}

/// A stack that runs.
struct Running {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    said: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let state = std::env::temp_dir().join(format!("backstop-dev-{}", Uuid::now_v7().simple()));
        Self { state, ports: [(); 5].map(|()| lasting_port()) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program("backstop"));
        let names = ["TEMPORAL", "UI", "POSTGRES", "SIMULATOR", "SIMULATOR_ADMIN"];
        command.arg("dev").current_dir(root()).env("BACKSTOP_STATE_DIR", &self.state);
        command
            .envs(names.iter().zip(self.ports).map(|(name, port)| (format!("BACKSTOP_{name}_PORT"), port.to_string())));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn start(&self) -> Running {
        let mut child = self.command().spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Running { child, lines, said: Vec::new() };
        running.until("workflow start").await;
        running
    }

    /// What a start says that can't be: one line, and at once.
    async fn refusal(&self) -> String {
        let output = self.command().output().await.unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }

    fn free(&self) -> bool {
        self.ports.iter().all(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
    }

    async fn simulator(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.ports[4]);
        let answer = reqwest::Client::new().request(method, url).json(&body).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    async fn withdrawals(&self) -> Vec<Value> {
        let records = self.simulator(reqwest::Method::GET, "/withdrawals", json!(null)).await;
        records.as_array().unwrap().clone()
    }

    async fn open_orders(&self) -> usize {
        let orders = self.simulator(reqwest::Method::GET, "/orders", json!(null)).await;
        let is_open = |order: &&Value| matches!(order["state"].as_str(), Some("NEW" | "PARTIALLY_FILLED"));
        orders.as_array().unwrap().iter().filter(is_open).count()
    }

    async fn payout_state(&self) -> Option<String> {
        let url = format!("postgres://backstop_worker@127.0.0.1:{}/backstop", self.ports[2]);
        let mut books = PgConnection::connect(&url).await.unwrap();
        sqlx::query_scalar("SELECT state FROM backstop.payouts").fetch_optional(&mut books).await.unwrap()
    }

    /// Reconciles with the paper exchange, as an operator would. Returns what is printed, and the exit status.
    async fn check(&self) -> (String, Option<i32>) {
        let mut command = Command::new(program("backstop"));
        command.args(["check", "--only", "venues,transit,rewards"]);
        command.env("TEMPORAL_ADDRESS", format!("127.0.0.1:{}", self.ports[0]));
        let output = command.output().await.unwrap();
        (String::from_utf8([output.stdout, output.stderr].concat()).unwrap(), output.status.code())
    }

    async fn fills(&self) -> i64 {
        let url = format!("postgres://backstop_worker@127.0.0.1:{}/backstop", self.ports[2]);
        let mut books = PgConnection::connect(&url).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM backstop.fills").fetch_one(&mut books).await.unwrap()
    }

    /// What bob has of the demo pool's asset.
    async fn bobs_usdt(&self) -> Option<String> {
        let url = format!("postgres://backstop_worker@127.0.0.1:{}/backstop", self.ports[2]);
        let mut books = PgConnection::connect(&url).await.unwrap();
        let sql = "SELECT trim_scale(available)::text FROM backstop.accounts WHERE owner = 'bob' AND asset = 'USDT'";
        sqlx::query_scalar(sql).fetch_optional(&mut books).await.unwrap()
    }

    async fn settles(&self) {
        let settled = wait_until(DEADLINE, async || self.payout_state().await.as_deref() == Some("settled"));
        assert!(settled.await, "the payout is {:?}", self.payout_state().await);
        assert_eq!(self.withdrawals().await.len(), 1);
    }

    /// Every event of the books is a whole line of the file that it names.
    async fn events_are_published(&self, file: &str) {
        let url = format!("postgres://backstop_worker@127.0.0.1:{}/backstop", self.ports[2]);
        let mut books = PgConnection::connect(&url).await.unwrap();
        let sql = "SELECT 'outbox/' || id FROM backstop.outbox WHERE aggregate LIKE 'refund/%'
                   UNION ALL SELECT format('entry/%s/%s', key, line) FROM backstop.entries WHERE key LIKE 'refund/%'";
        let ids: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut books).await.unwrap();
        assert!(ids.len() >= 5, "{ids:?}");
        let published = wait_until(DEADLINE, async || {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            ids.iter().all(|id| lines.iter().any(|line| line["id"] == id.as_str()))
        });
        assert!(published.await, "{file} lacks some of {ids:?}");
    }

    fn pid_of(&self, service: &str) -> Pid {
        let text = std::fs::read_to_string(self.state.join("pids").join(service)).unwrap();
        Pid::from_raw(text.parse().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

impl Running {
    /// Reads what it says up to a line with this text.
    async fn until(&mut self, text: &str) {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push(line);
                if self.said.last().is_some_and(|line| line.contains(text)) {
                    return true;
                }
            }
            false
        };
        if !matches!(tokio::time::timeout(DEADLINE, reading).await, Ok(true)) {
            let _ = self.child.start_kill();
            let mut complaints = String::new();
            let mut stderr = self.child.stderr.take().unwrap();
            let _ = tokio::time::timeout(DEADLINE / 10, stderr.read_to_string(&mut complaints)).await;
            panic!("it never said {text:?}, but {:#?} and {complaints}", self.said);
        }
    }

    async fn start_the_printed_refund(&self) {
        self.start_the_printed("Refund").await;
    }

    /// Does what a newcomer does: runs a line that it printed.
    async fn start_the_printed(&self, workflow: &str) {
        let line = self.said.iter().find(|line| line.contains(&format!("--type {workflow} "))).unwrap();
        let started = Command::new("sh").args(["-c", line]).current_dir(root()).output().await.unwrap();
        assert!(started.status.success(), "{line}: {started:?}");
    }

    async fn stop(mut self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()), signal).unwrap();
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it does not stop").unwrap();
        assert_eq!(status.success(), signal != Signal::SIGKILL, "{status}");
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn set_up() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn a_refund_interrupted_by_ctrl_c_is_finished_by_the_next_start_with_one_withdrawal() {
    set_up();
    let place = Place::new();
    let running = place.start().await;
    assert!(place.refusal().await.contains("already running"));
    let elsewhere = Place { state: place.state.with_extension("other"), ports: place.ports };
    assert!(elsewhere.refusal().await.contains(&format!("port {}", place.ports[0])));

    place.simulator(reqwest::Method::PUT, "/settings", json!({"complete_after_ms": 600_000})).await;
    running.start_the_printed_refund().await;
    assert!(wait_until(DEADLINE, async || !place.withdrawals().await.is_empty()).await, "nothing was sent");
    running.stop(Signal::SIGINT).await;
    assert!(place.free(), "something still listens");

    let running = place.start().await;
    let made = place.withdrawals().await;
    let path = format!("/withdrawals/{}", made[0]["id"].as_str().unwrap());
    place.simulator(reqwest::Method::POST, &path, json!({"state": "completed"})).await;
    place.settles().await;
    running.stop(Signal::SIGTERM).await;
    assert!(place.free(), "something still listens");
}

#[tokio::test]
async fn a_worker_that_is_killed_comes_back_and_leftovers_of_a_killed_stack_are_cleared_away() {
    set_up();
    let place = Place::new();
    let mut running = place.start().await;
    running.start_the_printed_refund().await;
    kill(place.pid_of("worker"), Signal::SIGKILL).unwrap();
    running.until("the worker is back").await;
    place.settles().await;
    let line = running.said.iter().find(|line| line.trim_start().starts_with("events ")).unwrap();
    place.events_are_published(line.split_whitespace().nth(1).unwrap()).await;

    running.stop(Signal::SIGKILL).await;
    assert!(!place.free(), "the servers are expected to outlive a killed supervisor");
    // One that hears nothing is ended all the same.
    kill(place.pid_of("worker"), Signal::SIGSTOP).unwrap();
    let running = place.start().await;
    place.settles().await;
    running.stop(Signal::SIGINT).await;
    assert!(place.free(), "something still listens");
}

#[tokio::test]
async fn alices_strategy_makes_a_market_and_its_money_can_be_withdrawn() {
    set_up();
    let place = Place::new();
    let mut running = place.start().await;
    running.until("--type PauseAndWithdraw").await;
    assert!(
        wait_until(DEADLINE, async || place.open_orders().await == 4).await,
        "{} quotes",
        place.open_orders().await
    );
    assert!(wait_until(DEADLINE, async || place.fills().await > 0).await, "nothing is traded");
    running.start_the_printed("ExecuteIntent").await;
    running.start_the_printed("DistributeReward").await;
    let rewarded = wait_until(DEADLINE, async || place.bobs_usdt().await.as_deref() == Some("33"));
    assert!(rewarded.await, "bob has {:?} USDT", place.bobs_usdt().await);
    // The paper exchange holds what the demo's books owe.
    let (said, status) = place.check().await;
    assert!(said.contains("nothing is wrong") && status == Some(0), "{said}");
    running.start_the_printed("PauseAndWithdraw").await;
    place.settles().await;
    // Bob's, which is nobody's quote.
    assert_eq!(place.open_orders().await, 1);
    let (said, status) = place.check().await;
    assert!(said.contains("nothing is wrong") && !said.contains("moved during") && status == Some(0), "{said}");
    // The next start leaves it stopped, until somebody says otherwise.
    running.stop(Signal::SIGINT).await;
    let mut running = place.start().await;
    running.until("--type RunStrategy").await;
    running.start_the_printed_refund().await;
    assert!(wait_until(DEADLINE, async || place.withdrawals().await.len() == 2).await, "the worker serves nothing");
    assert_eq!(place.open_orders().await, 1);
    running.start_the_printed("RunStrategy").await;
    assert!(wait_until(DEADLINE, async || place.open_orders().await > 1).await, "it does not quote again");
    running.stop(Signal::SIGINT).await;
}
