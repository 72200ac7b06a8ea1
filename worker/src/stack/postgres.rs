use std::{
    fs,
    path::{Path, PathBuf},
    process::Command as StdCommand,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{sys::signal::Signal, unistd::Uid};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::process::Command;

use super::{Service, Tools};

const READY_DEADLINE: Duration = Duration::from_secs(30);
/// The login that owns the books.
const OWNER: &str = "backstop_owner";

/// A private Postgres on the loopback interface.
#[derive(Debug)]
pub struct Postgres {
    service: Service,
    port: u16,
}

impl Postgres {
    /// Makes the cluster under `<state>/postgres` if there is none, and starts it.
    ///
    /// # Errors
    /// When it can't be made or started.
    pub async fn start(tools: &Tools, state: &Path, port: u16, settings: &[&str]) -> Result<Self> {
        let data = state.join("postgres");
        fs::create_dir_all(state)?;
        let unprivileged = Unprivileged::find(&data)?;
        if !data.join("PG_VERSION").exists() {
            initialize(tools, &unprivileged, &data)?;
        }
        let mut command = Command::from(unprivileged.command(&tools.postgres.join("postgres")));
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let mut service = Service::start("postgres", state, command)?;
        let options = options(port, OWNER, "postgres");
        service.wait_ready(READY_DEADLINE, async || PgConnection::connect_with(&options).await.is_ok()).await?;
        Ok(Self { service, port })
    }

    /// How to connect to one of its databases as the owner of the books.
    pub fn owner(&self, database: &str) -> PgConnectOptions {
        options(self.port, OWNER, database)
    }

    /// The same as an URL, for any login.
    pub fn url(&self, login: &str, database: &str) -> String {
        format!("postgres://{login}@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of the owner of the books.
    pub fn owner_url(&self, database: &str) -> String {
        self.url(OWNER, database)
    }

    /// Its process.
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Stops it; running transactions are rolled back.
    ///
    /// # Errors
    /// When it won't end.
    pub async fn stop(self) -> Result<()> {
        self.service.stop(Signal::SIGINT).await
    }
}

fn options(port: u16, login: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username(login).database(database)
}

fn initialize(tools: &Tools, unprivileged: &Unprivileged, data: &Path) -> Result<()> {
    // Made beside its place and moved there when it is whole: an interrupted start must not leave half a cluster.
    let fresh = data.with_extension(format!("{}.new", std::process::id()));
    unprivileged.prepare(&fresh)?;
    let mut command = unprivileged.command(&tools.postgres.join("initdb"));
    command.arg("-D").arg(&fresh).args(["-U", OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    let output = command.output().context("running initdb")?;
    if output.status.success() {
        return fs::rename(&fresh, data).with_context(|| format!("moving the new cluster to {}", data.display()));
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    if matches!(unprivileged, Unprivileged::Nobody) {
        bail!(
            "initdb failed:\n{why}\n(started by root, Postgres runs as nobody here, who must be able to reach {} and {}: \
               move the checkout out of root's home, or start as an ordinary user)",
            data.display(),
            tools.postgres.display()
        );
    }
    bail!("initdb failed:\n{why}");
}

/// Postgres refuses to run as root. Started by root, it is given another user id.
#[derive(Debug)]
enum Unprivileged {
    /// We are no root.
    AsWeAre,
    /// A user namespace in which root is somebody else: files stay as they are.
    Namespace,
    /// The user `nobody`, who then owns the data.
    Nobody,
}

const NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-user=1000", "--map-group=1000"];
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

impl Unprivileged {
    fn find(data: &Path) -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self::AsWeAre);
        }
        let works = |prefix: &[&str]| {
            let output = StdCommand::new(prefix[0]).args(&prefix[1..]).arg("true").output();
            output.is_ok_and(|output| output.status.success())
        };
        // A cluster that nobody owns was made the other way, and goes on that way.
        let made_by_nobody = fs::metadata(data).is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 65_534);
        if !made_by_nobody && works(&NAMESPACE) {
            return Ok(Self::Namespace);
        }
        if works(&NOBODY) {
            return Ok(Self::Nobody);
        }
        bail!("started by root, Postgres needs `unshare` or `setpriv` (util-linux) to run as another user")
    }

    /// Lets the other user write where the cluster is to be made.
    fn prepare(&self, directory: &Path) -> Result<()> {
        if matches!(self, Self::Nobody) {
            fs::create_dir_all(directory)?;
            std::os::unix::fs::chown(directory, Some(65_534), Some(65_534))?;
        }
        Ok(())
    }

    fn command(&self, program: &PathBuf) -> StdCommand {
        let prefix: &[&str] = match self {
            Self::AsWeAre => return StdCommand::new(program),
            Self::Namespace => &NAMESPACE,
            Self::Nobody => &NOBODY,
        };
        let mut command = StdCommand::new(prefix[0]);
        command.args(&prefix[1..]).arg("--").arg(program);
        command
    }
}
