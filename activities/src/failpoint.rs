//! Places where a test can stop this process: by name, before and after every side effect.
//!
//! A failpoint is armed by a file `<dir>/<name>` whose text is `kill` (SIGKILL to this process) or `hang` (wait until the
//! file is gone). `kill` fires once: whoever removes the file dies. Compiled into debug builds only.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Looks for armed failpoints in this directory from now on.
pub fn watch(directory: PathBuf) {
    if cfg!(debug_assertions) {
        DIRECTORY.get_or_init(|| directory);
    }
}

/// Passes a failpoint: returns at once unless a test has armed it.
pub async fn pass(name: &str) {
    let Some(directory) = DIRECTORY.get() else { return };
    let file = directory.join(name);
    while let Ok(what) = std::fs::read_to_string(&file) {
        if what.trim() == "kill" && std::fs::remove_file(&file).is_ok() {
            note(directory, name);
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Leaves a trace that the failpoint fired, so that a test can tell it from one that was never reached.
fn note(directory: &Path, name: &str) {
    let _ = std::fs::write(directory.join(format!("{name}.fired")), "");
}
