use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Where the servers' programs are.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The Temporal CLI.
    pub temporal: PathBuf,
    /// The `bin` directory of Postgres.
    pub postgres: PathBuf,
}

impl Tools {
    /// Finds the programs: `TEMPORAL_CLI` and `PG_BIN` if they are set, else what `make tools` put under `root/.tools`.
    ///
    /// # Errors
    /// When one is not there.
    pub fn find(root: &Path) -> Result<Self> {
        let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        let tools = Self {
            temporal: named("TEMPORAL_CLI").unwrap_or_else(|| root.join(".tools/bin/temporal")),
            postgres: named("PG_BIN").unwrap_or_else(|| root.join(".tools/postgres/bin")),
        };
        let hint = "run `make tools`, or name others by TEMPORAL_CLI and PG_BIN";
        ensure!(tools.temporal.is_file(), "no Temporal CLI at {}: {hint}", tools.temporal.display());
        let postgres = tools.postgres.join("postgres");
        ensure!(postgres.is_file(), "no PostgreSQL at {}: {hint}", postgres.display());
        Ok(tools)
    }
}
