//! The faults, and which of them a saga is tried with.

use serde_json::{Value, json};

use super::{
    dice::Dice,
    golden::{Golden, Variant, is_brink},
};
use crate::{
    exchange::{APPLY, ORDER},
    servers::Own,
};

/// What happens to an operation. `at` is a failpoint, where the worker is killed or held meanwhile.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The worker is killed.
    Killed { variant: Variant, at: String },
    /// The exchange does something to a request that moves money.
    Venue { kind: &'static str, path: String },
    /// The exchange does something to a request that only reads.
    Lookup { kind: &'static str, path: String },
    /// The exchange refuses the operation for good.
    Refused,
    /// The exchange refuses connections for a while.
    Unreachable { at: String },
    /// Postgres is stopped at once and started again.
    PostgresRestarted { at: String },
    /// Postgres is put back to an earlier moment: a failpoint, or before the start.
    PostgresRestored { at: String, from: Option<String> },
    /// Temporal is killed and started again on its file.
    TemporalRestarted { at: String },
    /// Temporal is killed and started again without its file; the operation is started again by hand.
    TemporalLost { at: String },
    /// Started again under a second workflow id: at once, or while the first is held.
    Twice { at: Option<String> },
    /// Cancelled.
    Cancelled { at: String },
    /// Terminated, and started again.
    Terminated { at: String },
    /// Reset to the first workflow task.
    Reset { at: String },
    /// Every signal is sent twice.
    SignalledTwice,
}

/// What the exchange does to a request that moves money, by the matrix' name of it.
const ON_WRITES: [&str; 11] = [
    "answer-lost",
    "executed-late",
    "held-back",
    "hidden",
    "500",
    "500-executed",
    "503",
    "503-executed",
    "429",
    "unreadable",
    "unreadable-executed",
];
/// And to one that only reads.
const ON_READS: [&str; 6] = ["answer-lost", "held-back", "500", "503", "429", "unreadable"];
/// What the simulator does to withdrawals and new orders only.
const ON_SENDS: [&str; 2] = ["executed-late", "hidden"];

impl Fault {
    /// The row of the table.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Killed { .. } => "killed",
            Self::Venue { kind, .. } => kind,
            Self::Lookup { .. } => "lookup",
            Self::Refused => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::PostgresRestarted { .. } => "postgres-restarted",
            Self::PostgresRestored { .. } => "postgres-restored",
            Self::TemporalRestarted { .. } => "temporal-restarted",
            Self::TemporalLost { .. } => "temporal-lost",
            Self::Twice { .. } => "started-twice",
            Self::Cancelled { .. } => "cancelled",
            Self::Terminated { .. } => "terminated",
            Self::Reset { .. } => "reset",
            Self::SignalledTwice => "signalled-twice",
        }
    }

    /// Where, if that needs saying.
    pub fn place(&self) -> String {
        match self {
            Self::Killed { variant: Variant::Plain, at }
            | Self::Unreachable { at }
            | Self::PostgresRestarted { at }
            | Self::TemporalRestarted { at }
            | Self::TemporalLost { at }
            | Self::Cancelled { at }
            | Self::Terminated { at }
            | Self::Reset { at }
            | Self::Twice { at: Some(at) } => at.clone(),
            Self::Killed { variant, at } => format!("{}:{at}", variant.name()),
            Self::Venue { path, .. } => short(path),
            Self::Lookup { kind, path } => format!("{}:{kind}", short(path)),
            Self::PostgresRestored { at, from } => format!("{at}:from-{}", from.as_deref().unwrap_or("start")),
            Self::Twice { at: None } => "at-once".into(),
            Self::Refused | Self::SignalledTwice => String::new(),
        }
    }

    /// Which servers it needs for itself.
    pub(super) fn own(&self) -> Own {
        Own {
            postgres: matches!(self, Self::PostgresRestarted { .. } | Self::PostgresRestored { .. }),
            temporal: matches!(self, Self::TemporalRestarted { .. } | Self::TemporalLost { .. }),
        }
    }
}

fn short(path: &str) -> String {
    path.trim_start_matches('/').replace('/', "-").replace("sapi-v1-capital-", "")
}

/// What is posted to the admin API for a fault of the exchange, within what the tests' worker is told of its venue: it
/// takes a request for 1 s, and shows a withdrawal 1.3 s after that at the latest.
pub(super) fn posted(kind: &str, dice: &mut Dice) -> Value {
    match kind {
        "answer-lost" => json!({"fault": "lose_answer"}),
        "executed-late" => json!({"fault": "execute_late", "ms": dice.pick(&[200, 700, 900])}),
        "held-back" => json!({"fault": "hold", "ms": dice.pick(&[600, 1_700, 3_000])}),
        "hidden" => json!({"fault": "hide", "ms": dice.pick(&[300, 900, 1_200])}),
        "500" => json!({"fault": "status", "status": 500, "times": dice.pick(&[1, 2])}),
        "500-executed" => json!({"fault": "status", "status": 500, "execute": true}),
        "503" => json!({"fault": "status", "status": 503, "times": dice.pick(&[1, 2])}),
        "503-executed" => json!({"fault": "status", "status": 503, "execute": true}),
        "429" => json!({"fault": "rate_limited", "times": dice.pick(&[1, 2])}),
        "unreadable" => json!({"fault": "garbage", "times": dice.pick(&[1, 2])}),
        "unreadable-executed" => json!({"fault": "garbage", "execute": true}),
        other => panic!("{other} is no fault of the exchange"),
    }
}

/// Every fault that a saga is tried with.
pub(super) fn all(golden: &Golden, seed: u64) -> Vec<Fault> {
    let mut faults: Vec<Fault> =
        golden.points.iter().map(|(variant, at)| Fault::Killed { variant: variant.clone(), at: at.clone() }).collect();
    for (path, writes) in &golden.paths {
        if *writes {
            let sends = path == APPLY || path == ORDER && golden.places_orders;
            let fits = |kind: &&&'static str| sends || !ON_SENDS.contains(kind);
            faults.extend(ON_WRITES.iter().filter(fits).map(|kind| Fault::Venue { kind, path: path.clone() }));
        } else {
            faults.extend(ON_READS.iter().map(|kind| Fault::Lookup { kind, path: path.clone() }));
        }
    }
    if golden.asks_the_exchange {
        faults.push(Fault::Refused);
    }
    faults.push(Fault::Twice { at: None });
    let steps: Vec<String> = golden.own_steps();
    for (passed, step) in steps.iter().enumerate() {
        let at = || step.clone();
        if is_brink(step) {
            faults.push(Fault::Unreachable { at: at() });
        }
        faults.extend([
            Fault::Twice { at: Some(at()) },
            Fault::Cancelled { at: at() },
            Fault::Terminated { at: at() },
            Fault::Reset { at: at() },
            Fault::PostgresRestarted { at: at() },
            Fault::TemporalRestarted { at: at() },
            Fault::TemporalLost { at: at() },
        ]);
        if golden.skippable.contains(step) {
            continue;
        }
        faults.push(Fault::PostgresRestored { at: at(), from: None });
        let before: Vec<String> =
            steps[..passed].iter().filter(|step| golden.ordered.contains(step)).cloned().collect();
        if !before.is_empty() {
            let from = Dice::new(step, seed).pick(&before);
            faults.push(Fault::PostgresRestored { at: at(), from: Some(from) });
        }
    }
    if golden.signalled {
        faults.push(Fault::SignalledTwice);
    }
    faults
}
