//! The append-only file that makes records survive a kill.
//!
//! One JSON object a line. A line is written in one call before the change is shown to anyone, so a
//! killed process leaves at most an unfinished last line, which is cut off at the next start. Nothing
//! is synced to the disk: the process may die, the machine may not.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::model::{Deposit, Withdrawal};
use crate::settings::Settings;
use crate::spot::Step;

/// A change of the books. Records replace an earlier one of the same id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Settings(Settings),
    /// A free balance was set from outside: by how much it moved.
    Adjustment {
        coin: String,
        delta: Decimal,
    },
    Withdrawal(Withdrawal),
    Deposit(Deposit),
    /// An order as it is now, with the trades it made since.
    Order(Box<Step>),
}

/// The open file, positioned at its end.
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Opens or creates the file and reads what it holds.
    ///
    /// # Errors
    /// When the file cannot be opened, or a finished line is not an event (it names the line).
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Event>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open the journal {}", path.display()))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let finished = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        content.truncate(finished);
        // The next line must not be glued to the rest of an unfinished one.
        file.set_len(u64::try_from(finished)?)?;
        file.seek(SeekFrom::End(0))?;
        let events = content
            .split(|byte| *byte == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
            .map(|(index, line)| {
                serde_json::from_slice(line)
                    .with_context(|| format!("{}: line {} is not an event", path.display(), index + 1))
            })
            .collect::<Result<Vec<Event>>>()?;
        Ok((Self { file }, events))
    }

    /// Adds an event. When it fails, the change must not be made.
    pub(crate) fn append(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}
