use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::IntentState;

/// How an intent stands in the books, and what `ExecuteIntent` gives at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentReceipt {
    /// Which intent.
    pub intent_id: String,
    /// How far it is.
    pub state: IntentState,
    /// Its place in the order of its strategy's intents; none while it is not opened.
    pub ticket: Option<i64>,
    /// Where.
    pub venue: String,
    /// The client id of the order that it places, or cancels.
    pub order_id: String,
    /// How that order stands, if there is one.
    pub order_state: Option<String>,
    /// The venue's id of it, once known.
    pub venue_order_id: Option<String>,
    /// Why it ended so.
    pub reason: Option<String>,
}

/// What asking the gates came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whether the intent has passed. Once it has, it stays so until it ends.
    pub claimed: bool,
    /// How far it is.
    pub state: IntentState,
    /// What it waits for, or why it ended.
    pub why: Option<String>,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => write!(f, "{}: {why}", self.state.name()),
            None => f.write_str(self.state.name()),
        }
    }
}
