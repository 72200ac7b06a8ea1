//! The program: its line of output, and its ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use crate::client::{KEY, SECRET, Sim, fresh_state, read, until, write};

/// A started program and the addresses it printed.
struct Program {
    child: Child,
    line: String,
}

impl Program {
    fn start(state: &Path, extra: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_backstop-simulator"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(extra)
            .env("BACKSTOP_SIM_STATE", state)
            .env("BACKSTOP_SIM_API_KEY", KEY)
            .env("BACKSTOP_SIM_API_SECRET", SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        Self { child, line: line.trim_end().to_owned() }
    }

    fn address(&self, name: &str) -> std::net::SocketAddr {
        let mut words = self.line.split(' ');
        let prefix = format!("{name}=http://");
        let address = words.find_map(|word| word.strip_prefix(&prefix));
        address.unwrap().parse().unwrap()
    }

    async fn ended(&mut self) -> ExitStatus {
        until("the end of the program", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn records_survive_a_kill() {
    let state = fresh_state();
    let mut program = Program::start(&state, &[]);
    assert!(program.line.starts_with("listening api=http://127.0.0.1:"));
    let health = write(program.address("admin"), "GET", "/health", "", "").await;
    assert_eq!(read(health).await.unwrap().status, 200);
    let ping = write(program.address("api"), "GET", "/api/v3/ping", "", "").await;
    assert_eq!(read(ping).await.unwrap().status, 200);
    let body = json!({"coin": "ETH", "amount": "5", "debit": true, "client_id": "k"}).to_string();
    let sent = write(program.address("admin"), "POST", "/withdrawals", "", &body);
    let made = read(sent.await).await.unwrap().json();
    // On Unix this is SIGKILL.
    program.child.kill().unwrap();
    program.ended().await;

    let sim = Sim::over(state).await;
    let [record] = sim.records("k").await.try_into().unwrap();
    assert_eq!(record["id"], made["id"]);
    assert_eq!(sim.free("ETH").await, "95.00000000");
}

#[tokio::test]
async fn a_signal_ends_it_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let state = fresh_state();
        let mut program = Program::start(&state, &[]);
        let pid = program.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
        assert!(program.ended().await.success(), "{signal}");
        std::fs::remove_file(&state).unwrap();
    }
}

#[tokio::test]
async fn it_ends_with_its_supervisor_only_when_asked() {
    let state = fresh_state();
    let mut bound = Program::start(&state, &["--exit-with-parent"]);
    drop(bound.child.stdin.take());
    assert!(bound.ended().await.success());
    let mut free = Program::start(&state, &[]);
    drop(free.child.stdin.take());
    let asked = write(free.address("admin"), "GET", "/faults", "", "").await;
    let listed: Value = read(asked).await.unwrap().json();
    assert_eq!(listed, json!([]));
    assert!(free.child.try_wait().unwrap().is_none());
    std::fs::remove_file(&state).unwrap();
}
