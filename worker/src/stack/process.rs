use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// How long a server may take to end after it was asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A child process that we started, with its log and its process id on file.
///
/// It runs in a process group of its own, so that a Ctrl-C at the terminal reaches only us and we stop things in order.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    pid: Pid,
    pid_file: PathBuf,
    log: PathBuf,
}

impl Service {
    /// Starts `command`; its output goes to `<state>/logs/<name>.log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(name: &str, state: &Path, mut command: Command) -> Result<Self> {
        let log = state.join("logs").join(format!("{name}.log"));
        let pid_file = state.join("pids").join(name);
        for file in [&log, &pid_file] {
            fs::create_dir_all(file.parent().unwrap_or(state))?;
        }
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.as_std().get_program().display()))?;
        let pid = Pid::from_raw(i32::try_from(child.id().context("it ended at once")?)?);
        fs::write(&pid_file, pid.to_string())?;
        Ok(Self { name: name.to_owned(), child, pid, pid_file, log })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system won't say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system won't say.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Asks it to end, and insists after a while.
    ///
    /// # Errors
    /// When the system won't say how it ended.
    pub async fn stop(mut self, signal: Signal) -> Result<()> {
        // Without an id it has ended and been reaped, and its number may be somebody else's by now.
        if self.child.id().is_some() {
            let _ = kill(self.pid, signal);
        }
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        let _ = fs::remove_file(&self.pid_file);
        Ok(())
    }

    /// Waits until `ready` holds, or the process ends, or the deadline passes.
    ///
    /// # Errors
    /// In the last two cases, with the end of its log.
    pub async fn wait_ready(&mut self, deadline: Duration, mut ready: impl AsyncFnMut() -> bool) -> Result<()> {
        let until = Instant::now() + deadline;
        while !ready().await {
            if let Some(status) = self.ended()? {
                bail!("{} ended at once ({status}):\n{}", self.name, self.last_words());
            }
            if Instant::now() > until {
                bail!("{} was not ready within {deadline:?}:\n{}", self.name, self.last_words());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("{}\n(all of it: {})", lines[lines.len().saturating_sub(8)..].join("\n"), self.log.display())
    }
}

/// Ends what an earlier run of ours left behind in this state directory: the processes on file that still run with it. The last
/// that was started goes first, as in an orderly stop: a worker whose Temporal is gone takes long to end.
///
/// # Errors
/// When one of them can't be ended.
pub(super) async fn end_leftovers(state: &Path) -> Result<()> {
    let Ok(files) = fs::read_dir(state.join("pids")) else { return Ok(()) };
    let mut files: Vec<_> = files.flatten().collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.metadata().and_then(|file| file.modified()).ok()));
    for file in files {
        let number = fs::read_to_string(file.path())?.trim().parse::<i32>();
        if let Ok(number) = number
            && is_ours(number, state)
        {
            let ends = async |signal| {
                let _ = kill(Pid::from_raw(number), signal);
                wait_until(STOP_DEADLINE, async || !is_ours(number, state)).await
            };
            if !ends(Signal::SIGINT).await && !ends(Signal::SIGKILL).await {
                bail!("{} (process {number}) of an earlier run does not end", file.file_name().display());
            }
        }
        fs::remove_file(file.path())?;
    }
    Ok(())
}

/// A process id may have been given to somebody else meanwhile: only one that names our state directory is ours.
fn is_ours(number: i32, state: &Path) -> bool {
    let command = std::process::Command::new("ps").args(["-o", "command=", "-ww", "-p", &number.to_string()]).output();
    let command = command.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    command.contains(&*state.join("").to_string_lossy())
}

/// Looks at a condition until it holds or the deadline passes; says whether it held.
pub async fn wait_until(deadline: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let until = Instant::now() + deadline;
    while !holds().await {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

/// Whether somebody listens on a port of this machine.
pub(super) fn is_listening(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1)).is_ok()
}

/// A port that nobody uses now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
