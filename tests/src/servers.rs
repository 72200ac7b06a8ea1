//! The servers that the tests of a run share, one Postgres and one Temporal, and those that a world has to itself.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use backstop::stack::{Postgres, Temporal, Tools};
use nix::sys::signal::Signal;
use tokio::process::Command;

/// Names the port of the shared Postgres.
pub const POSTGRES_PORT: &str = "BACKSTOP_TEST_POSTGRES_PORT";
/// Names the address of the shared Temporal.
pub const TEMPORAL_ADDRESS: &str = "BACKSTOP_TEST_TEMPORAL_ADDRESS";
/// Names the directory of a stopped Postgres that holds the template: what a Postgres of one's own is a copy of.
pub const CLUSTER: &str = "BACKSTOP_TEST_CLUSTER";
/// The database that every test's own is a copy of: migrated, with the demo world's assets and networks.
pub const TEMPLATE: &str = "backstop_template";

/// How often a server is started again that found its port taken by somebody's outgoing connection.
const STARTS_MAX: u32 = 5;
const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// The value that `with-servers` has set.
pub fn setting(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `make test`, or `target/debug/with-servers cargo test ...`"))
}

/// The servers' programs.
pub fn tools() -> Tools {
    Tools::find(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))).unwrap()
}

/// Copies a directory of a stopped Postgres, owners and rights included.
///
/// # Errors
/// When `cp` fails.
pub async fn copy_cluster(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().await.context("running cp")?;
    ensure!(copied.success(), "copying {} to {}: {copied}", from.display(), to.display());
    Ok(())
}

/// A port for a server that is stopped and started again: outside the range that the system gives to outgoing
/// connections, one of which could have taken it meanwhile, and far from those of other processes like this one.
pub fn lasting_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 61;
    loop {
        let port = 12_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Which servers a world has to itself, so that it can stop, kill and restore them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// A Postgres.
    pub postgres: bool,
    /// A Temporal.
    pub temporal: bool,
}

/// The servers a world stands on.
pub struct Servers {
    state: PathBuf,
    postgres_port: u16,
    postgres: Option<Postgres>,
    temporal_address: String,
    temporal: Option<Temporal>,
}

impl Servers {
    /// Starts what is to be one's own, with its state in `directory`; the rest is shared.
    pub async fn start(own: Own, directory: &Path) -> Self {
        let mut servers = Self {
            state: directory.join("servers"),
            postgres_port: if own.postgres { lasting_port() } else { setting(POSTGRES_PORT).parse().unwrap() },
            postgres: None,
            temporal_address: String::new(),
            temporal: None,
        };
        if own.postgres {
            fs::create_dir_all(&servers.state).unwrap();
            copy_cluster(Path::new(&setting(CLUSTER)), &servers.data()).await.unwrap();
            servers.start_postgres().await;
        }
        if own.temporal {
            servers.start_temporal(lasting_port()).await;
        } else {
            servers.temporal_address = setting(TEMPORAL_ADDRESS);
        }
        servers
    }

    /// Where Postgres listens.
    pub fn postgres_port(&self) -> u16 {
        self.postgres_port
    }

    /// Temporal's gRPC endpoint as `host:port`.
    pub fn temporal_address(&self) -> &str {
        &self.temporal_address
    }

    fn data(&self) -> PathBuf {
        self.state.join("postgres")
    }

    async fn start_postgres(&mut self) {
        let tools = tools();
        let settings = ["fsync=off", "max_connections=60", "shared_buffers=16MB"];
        for start in 1.. {
            match Postgres::start(&tools, &self.state, self.postgres_port, &settings).await {
                Ok(postgres) => return self.postgres = Some(postgres),
                Err(error) => assert!(start < STARTS_MAX, "{error:#}"),
            }
        }
    }

    async fn start_temporal(&mut self, port: u16) {
        let tools = tools();
        for start in 1.. {
            match Temporal::start(&tools, &self.state, port, None).await {
                Ok(temporal) => {
                    self.temporal_address = temporal.address();
                    return self.temporal = Some(temporal);
                }
                Err(error) => assert!(start < STARTS_MAX, "{error:#}"),
            }
        }
    }

    /// Stops Postgres at once, as a crash of all its processes would.
    async fn crash_postgres(&mut self) {
        let mut postgres = self.postgres.take().expect("a Postgres of one's own");
        postgres.service().signal(Signal::SIGQUIT).unwrap();
        tokio::time::timeout(STATEMENT_MAX, postgres.service().wait()).await.expect("Postgres does not end").unwrap();
    }

    /// Stops Postgres at once, and starts it again.
    pub async fn restart_postgres(&mut self) {
        self.crash_postgres().await;
        self.start_postgres().await;
    }

    /// Keeps Postgres' data as they are now; it is restarted for that.
    pub async fn save_postgres(&mut self) {
        self.crash_postgres().await;
        copy_cluster(&self.data(), &self.saved()).await.unwrap();
        self.start_postgres().await;
    }

    /// Puts Postgres back to where it was saved: what was committed since is lost.
    pub async fn restore_postgres(&mut self) {
        self.crash_postgres().await;
        fs::remove_dir_all(self.data()).unwrap();
        fs::rename(self.saved(), self.data()).unwrap();
        self.start_postgres().await;
    }

    fn saved(&self) -> PathBuf {
        self.state.join("postgres.saved")
    }

    /// Kills Temporal, and starts it again on its file, or with an empty one where `lose_file`.
    pub async fn restart_temporal(&mut self, lose_file: bool) {
        let mut temporal = self.temporal.take().expect("a Temporal of one's own");
        temporal.service().signal(Signal::SIGKILL).unwrap();
        temporal.service().wait().await.unwrap();
        if lose_file {
            for name in ["temporal.db", "temporal.db-wal", "temporal.db-shm"] {
                let _ = fs::remove_file(self.state.join(name));
            }
        }
        let port = self.temporal_address.rsplit(':').next().unwrap().parse().unwrap();
        self.start_temporal(port).await;
    }

    /// Stops what is one's own.
    pub async fn stop(&mut self) {
        if let Some(mut temporal) = self.temporal.take() {
            let _ = temporal.service().signal(Signal::SIGKILL);
            let _ = temporal.service().wait().await;
        }
        if self.postgres.is_some() {
            self.crash_postgres().await;
        }
    }
}
