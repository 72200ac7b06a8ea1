//! Places where a test can stop this process: by name, before and after every side effect.
//!
//! A failpoint is armed by a file `<dir>/<name>` whose text is `kill` (SIGKILL to this process) or `hang` (wait until the
//! file is gone). `kill` fires once: whoever removes the file dies. Each that is passed is a line of `<dir>/passed`, each
//! that fired a file `<dir>/<name>.fired`. Compiled into debug builds only.

use std::{
    fs::File,
    io::Write,
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
    remember(directory, name);
    while let Ok(what) = std::fs::read_to_string(&file) {
        note(directory, name);
        if what.trim() == "kill" && std::fs::remove_file(&file).is_ok() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Leaves a trace that the failpoint fired, so that a test can tell it from one that was never reached.
fn note(directory: &Path, name: &str) {
    let _ = std::fs::write(directory.join(format!("{name}.fired")), "");
}

/// Tells tests which failpoints there are, so that nobody has to keep a list. One short append, so that no line is torn.
fn remember(directory: &Path, name: &str) {
    let file = File::options().create(true).append(true).open(directory.join("passed"));
    let _ = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
}

/// True when a test has broken this part on purpose, by a file `<dir>/broken.<name>`, to see that the tests notice.
pub fn broken(name: &str) -> bool {
    cfg!(debug_assertions) && DIRECTORY.get().is_some_and(|directory| directory.join(format!("broken.{name}")).exists())
}
