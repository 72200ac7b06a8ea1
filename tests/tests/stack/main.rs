//! Goal: the production-shaped stack of `docker/compose.yaml` is what its schema allows, and what it says of the migration, the
//! logins, the world and the two workers works when it is done natively, also when one of the workers is killed.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use backstop::{
    serve::connect_temporal,
    stack::{Postgres, Service, Temporal, Tools, free_port, wait_until},
};
use backstop_domain::payout::PayoutReceipt;
use backstop_tests::{
    Exchange,
    world::{DEADLINE, program},
};
use backstop_workflows::{RawInput, Refund};
use compose_spec::Compose;
use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use tokio::process::Command;
use uuid::Uuid;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The file, held against the Compose specification.
fn compose() -> Value {
    let text = std::fs::read_to_string(root().join("docker/compose.yaml")).unwrap();
    let compose = Compose::options().apply_merge(true).from_yaml_str(&text).unwrap();
    compose.validate_all().unwrap();
    serde_json::to_value(compose).unwrap()
}

fn service<'a>(compose: &'a Value, name: &str) -> &'a Value {
    let service = &compose["services"][name];
    assert!(service.is_object(), "no service {name}");
    service
}

#[test]
fn the_stack_is_as_the_specification_allows_and_no_secret_stands_in_it() {
    let compose = compose();
    for (name, healthy) in [
        ("temporal-db", true),
        ("temporal", true),
        ("temporal-ui", true),
        ("books-db", true),
        ("simulator", true),
        ("worker", true),
        ("migrate", false),
        ("world", false),
        ("schedules", false),
    ] {
        assert_eq!(service(&compose, name)["healthcheck"]["test"].is_array(), healthy, "{name}");
    }
    assert_eq!(service(&compose, "worker")["deploy"]["replicas"], 2);
    let needs =
        |name: &str, of: &str| service(&compose, name)["depends_on"][of]["condition"].as_str().unwrap().to_owned();
    assert_eq!(needs("worker", "world"), "service_completed_successfully");
    assert_eq!(needs("world", "migrate"), "service_completed_successfully");
    assert_eq!(needs("migrate", "books-db"), "service_healthy");
    assert_eq!(needs("worker", "temporal"), "service_healthy");
    let text = std::fs::read_to_string(root().join("docker/compose.yaml")).unwrap();
    for line in text.lines().filter(|line| ["PASSWORD", "PWD", "KEY", "SECRET"].iter().any(|word| line.contains(word)))
    {
        assert!(line.contains(":?}"), "not from the environment: {line}");
    }
    // Each that is asked for is named in the example, and the other way round.
    let example = std::fs::read_to_string(root().join("docker/.env.example")).unwrap();
    for name in example.lines().filter_map(|line| line.strip_suffix('=')) {
        assert!(text.contains(&format!("${{{name}:?}}")), "{name}");
    }
    let asked = text.split("${").skip(1).map(|rest| rest.split_once(":?}").unwrap().0);
    for name in asked {
        assert!(example.contains(&format!("{name}=")), "{name}");
    }
}

/// The servers of the stack, natively: what its names and secrets stand for here.
struct Native {
    state: PathBuf,
    compose: Value,
    postgres: Postgres,
    postgres_port: u16,
    temporal: Temporal,
    exchange: Exchange,
    tools: Tools,
}

impl Native {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let state = std::env::temp_dir().join(format!("backstop-stack-{}", Uuid::now_v7().simple()));
        std::fs::create_dir_all(&state).unwrap();
        let tools = Tools::find(&root()).unwrap();
        let postgres_port = free_port().unwrap();
        let postgres = Postgres::start(&tools, &state, postgres_port, &["fsync=off"]).await.unwrap();
        let temporal = Temporal::start(&tools, &state, free_port().unwrap(), None).await.unwrap();
        let exchange = Exchange::start(&state).await;
        Self { compose: compose(), state, postgres, postgres_port, temporal, exchange, tools }
    }

    /// What stands in the file, with what it stands for here.
    fn said(&self, text: &str) -> String {
        let text = text
            .replace("${VENUE_KEY:?}", "test-key")
            .replace("${VENUE_SECRET:?}", "test-secret")
            .replace("books-db:5432", &format!("127.0.0.1:{}", self.postgres_port))
            .replace("temporal:7233", &self.temporal.address())
            .replace("http://simulator:7100", &self.exchange.url())
            .replace("http://simulator:7101", &self.exchange.admin_url())
            .replace("${WEBHOOK_SECRET:?}", "whsec_dGVzdC1zZWNyZXQtdGVzdC1zZWNyZXQ=")
            .replace("/var/lib/backstop", self.state.to_str().unwrap())
            .replace("${BOOKS_OWNER_PASSWORD:?}", "ownerpassword")
            .replace("${BOOKS_WORKER_PASSWORD:?}", "workerpassword");
        assert!(!text.contains("${"), "{text}");
        text
    }

    /// A service's own command with nothing but its own environment.
    fn command(&self, name: &str) -> Command {
        let service = service(&self.compose, name);
        let mut command = Command::new(program("backstop"));
        command.env_clear();
        command.args(service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
        for (name, value) in service["environment"].as_object().unwrap() {
            command.env(name, self.said(value.as_str().unwrap()));
        }
        command
    }

    async fn runs(&self, name: &str) {
        let output = self.command(name).stdin(Stdio::null()).output().await.unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }

    /// What `books-db` does with `psql`, as the owner.
    async fn psql(&self, words: &[&str]) {
        let mut command = Command::new(self.tools.postgres.join("psql"));
        command.args(["-v", "ON_ERROR_STOP=1"]).args(words).env("PGHOST", "127.0.0.1");
        command.env("PGPORT", self.postgres_port.to_string()).env("PGUSER", "backstop_owner");
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    async fn books_login(&self) {
        let path = format!("{}:{}", self.tools.postgres.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(root().join("docker/books-login.sh"));
        command.env("PATH", path).env("PGHOST", "127.0.0.1").env("PGPORT", self.postgres_port.to_string());
        command.env("POSTGRES_USER", "backstop_owner").env("POSTGRES_DB", "backstop");
        let output = command.env("BOOKS_WORKER_PASSWORD", "workerpassword").output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A replica of the worker, which says that it is ready in a file of its own, as it would in its own container.
    async fn worker(&self, name: &str) -> Service {
        let ready = self.state.join(format!("{name}.ready"));
        let _ = std::fs::remove_file(&ready);
        let mut command = self.command("worker");
        assert!(command.as_std().get_envs().any(|(name, _)| name == "BACKSTOP_READY_FILE"));
        command.env("BACKSTOP_READY_FILE", &ready);
        let mut worker = Service::start(name, &self.state, command).unwrap();
        worker.wait_ready(DEADLINE, async || ready.metadata().is_ok_and(|file| file.len() > 0)).await.unwrap();
        worker
    }
}

#[tokio::test]
async fn two_workers_as_the_stack_starts_them_finish_everything_though_one_is_killed() {
    let native = Native::start().await;
    native.psql(&["-d", "postgres", "-c", "CREATE DATABASE backstop"]).await;
    native.books_login().await;
    native.books_login().await;
    native.runs("migrate").await;
    native.runs("migrate").await;
    // As a paper exchange opens, not as one of tests.
    native.exchange.set(json!({"balances": {"BTC": "10"}})).await;
    native.runs("world").await;
    native.runs("world").await;
    native.runs("schedules").await;
    let (mut first, second) = (native.worker("first").await, native.worker("second").await);
    native.exchange.set(json!({"complete_after_ms": 4_000})).await;
    let client = connect_temporal(&native.temporal.address(), "default").await.unwrap();
    let refunds = join_all((0..8).map(|n| {
        let (client, id) = (client.clone(), format!("r-{n}"));
        let input = json!({"refund_id": id, "user_id": "alice", "asset_id": "BTC", "amount": "0.1", "reason": "order cancelled",
            "destination": {"network": "BTC", "address": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}});
        async move {
            let options = WorkflowStartOptions::new("backstop", format!("refund/{id}")).build();
            client.start_workflow(Refund::run, RawInput::of(input), options).await.unwrap()
        }
    }))
    .await;
    let mut owner = PgConnection::connect_with(&native.postgres.owner("backstop")).await.unwrap();
    // With the stack's own patience a send that is lost with its worker is looked for during more than a minute: not here.
    let sent = "SELECT count(*) FROM backstop.payout_attempts WHERE outcome = 'accepted'";
    let under_way =
        wait_until(DEADLINE, async || sqlx::query_scalar::<_, i64>(sent).fetch_one(&mut owner).await.unwrap() == 8);
    assert!(under_way.await, "nothing was sent");
    first.signal(Signal::SIGKILL).unwrap();
    first.wait().await.unwrap();
    for refund in refunds {
        let result = tokio::time::timeout(DEADLINE, refund.get_result(WorkflowGetResultOptions::default())).await;
        let receipt: PayoutReceipt = result.expect("a refund does not end").unwrap();
        assert_eq!(receipt.state.name(), "settled");
    }
    let paid: Vec<i64> =
        sqlx::query_scalar("SELECT count(*) FROM backstop.payouts GROUP BY state").fetch_all(&mut owner).await.unwrap();
    assert_eq!(paid, [8]);
    assert_eq!(native.exchange.all_withdrawals().await.len(), 8);
    // The workers' login is what it should be, and nothing more.
    let roles: Vec<String> = sqlx::query_scalar(
        "SELECT r.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
          WHERE m.member = 'backstop_app'::regrole",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(roles, ["backstop_worker"]);
    // What the schedule runs finds nothing: the exchange holds what the books owe.
    let mut check = Command::new(program("backstop"));
    check.env_clear().arg("check").env("TEMPORAL_ADDRESS", native.temporal.address());
    let checked = check.output().await.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    second.stop(Signal::SIGTERM).await.unwrap();
    native.temporal.stop().await.unwrap();
    native.postgres.stop().await.unwrap();
    let _ = std::fs::remove_dir_all(&native.state);
}
