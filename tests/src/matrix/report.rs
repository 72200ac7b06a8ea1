//! What came of the cells, for people.

use std::{fmt::Write, time::Duration};

use super::Cell;

/// What came of one cell.
#[derive(Debug)]
pub struct Outcome {
    /// The cell.
    pub cell: Cell,
    /// What was wrong; nothing, if it passed.
    pub wrong: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether everything held.
    pub fn passed(&self) -> bool {
        self.wrong.is_empty()
    }

    /// What was wrong, and the command that shows it again.
    pub fn failure(&self) -> String {
        let mut text = format!("{} failed; again: {}\n", self.cell.name(), self.cell.command());
        for what in &self.wrong {
            let _ = writeln!(text, "    {what}");
        }
        text
    }
}

/// The matrix as a Markdown table, cells passed of cells run, and a last line that sums up.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut sagas: Vec<&str> = Vec::new();
    let mut kinds: Vec<&str> = Vec::new();
    for outcome in outcomes {
        let (saga, kind) = (outcome.cell.saga(), outcome.cell.kind());
        if !sagas.contains(&saga) {
            sagas.push(saga);
        }
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    sagas.sort_unstable();
    kinds.sort_unstable();
    let mut text = format!("| fault | {} |\n|---{}|\n", sagas.join(" | "), "|---".repeat(sagas.len()));
    for kind in kinds {
        let _ = write!(text, "| {kind} |");
        for saga in &sagas {
            let cells: Vec<&Outcome> =
                outcomes.iter().filter(|outcome| outcome.cell.saga() == *saga && outcome.cell.kind() == kind).collect();
            let passed = cells.iter().filter(|outcome| outcome.passed()).count();
            let _ = match cells.len() {
                0 => write!(text, " |"),
                run if run == passed => write!(text, " {passed}/{run} |"),
                run => write!(text, " **{passed}/{run}** |"),
            };
        }
        text.push('\n');
    }
    let passed = outcomes.iter().filter(|outcome| outcome.passed()).count();
    let _ = write!(text, "\n{} cells, {passed} passed", outcomes.len());
    text
}
