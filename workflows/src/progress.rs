use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// How one step of a saga stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Running, or waiting to be tried again.
    Running,
    /// Done.
    Done,
    /// Not done, because something that it needs is not healthy; see the note.
    Skipped,
    /// Failed, refused or cancelled; see the note.
    Failed,
    /// Its undo is running.
    Undoing,
    /// Undone.
    Undone,
    /// Its undo was refused for good: an operator is needed.
    UndoRefused,
}

/// One step, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// What the step does.
    pub step: String,
    /// How it stands.
    pub state: StepState,
    /// How it would be undone, or why it can't be.
    pub undo: String,
    /// What it said last.
    pub note: String,
}

/// What the status query answers and the current details show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The operation in a few words.
    pub operation: String,
    /// Its state, the same as the search attribute `OperationState`.
    pub state: String,
    /// Set while a person has to act: what they are asked.
    pub waiting_for: Option<String>,
    /// The steps so far, in the order they began.
    pub steps: Vec<StepStatus>,
}

impl Progress {
    /// The progress as a short Markdown table.
    pub fn markdown(&self) -> String {
        let mut text = format!("**{}**: {}\n\n", cell(&self.operation), cell(&self.state));
        if let Some(question) = &self.waiting_for {
            let _ = writeln!(text, "> **Waiting for an operator.** {}\n", cell(question));
        }
        text.push_str("| step | state | undo | note |\n|---|---|---|---|\n");
        for step in &self.steps {
            let state = serde_json::to_value(step.state).unwrap_or_default();
            let state = state.as_str().unwrap_or_default().replace('_', " ");
            let _ = writeln!(text, "| {} | {state} | {} | {} |", cell(&step.step), cell(&step.undo), cell(&step.note));
        }
        text
    }
}

/// Text of others inside our table: no column and no line of their own.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A workflow whose progress can be shown.
pub trait Tracked: 'static {
    /// The progress.
    fn shown(&self) -> &Progress;

    /// The progress, for changing it.
    fn progress(&mut self) -> &mut Progress;
}

#[cfg(test)]
mod tests {
    use super::{Progress, StepState, StepStatus};

    #[test]
    fn the_table_shows_each_step_and_no_text_breaks_it() {
        let step = StepStatus {
            step: "open payout".into(),
            state: StepState::UndoRefused,
            undo: "abandon".into(),
            note: "a | b\nc".into(),
        };
        let progress = Progress {
            operation: "refund r-1".into(),
            state: "opened".into(),
            waiting_for: Some("was it paid?".into()),
            steps: vec![step],
        };
        assert_eq!(
            progress.markdown(),
            "**refund r-1**: opened\n\n> **Waiting for an operator.** was it paid?\n\n\
             | step | state | undo | note |\n|---|---|---|---|\n| open payout | undo refused | abandon | a \\| b c |\n"
        );
    }
}
