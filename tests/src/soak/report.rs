//! What came of a soak, for people.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::Options;

/// How many deviations are printed.
const SHOWN_MAX: usize = 40;

/// What came of a soak.
#[derive(Debug)]
pub struct Report {
    pub(super) options: Options,
    pub(super) took: Duration,
    pub(super) kills: usize,
    /// How many intents ended in each state.
    pub(super) states: BTreeMap<String, usize>,
    /// How many workflows were started for them.
    pub(super) workflows: usize,
    pub(super) venues: Vec<VenueRow>,
    /// The most claims at once, of all and of one strategy.
    pub(super) global: i64,
    pub(super) strategy: i64,
    pub(super) spreads: Vec<Spread>,
    /// What is wrong; nothing, if everything held.
    pub wrong: Vec<String>,
}

#[derive(Debug)]
pub(super) struct VenueRow {
    pub(super) name: &'static str,
    pub(super) gate: usize,
    /// The most claims at once, by the books.
    pub(super) claims: i64,
    /// The most placements at once, by its own record.
    pub(super) at_once: u64,
    /// How often it was asked to place an order.
    pub(super) placements: u64,
    pub(super) orders: usize,
}

/// How long something took: the median, and what one in twenty took longer than.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) what: &'static str,
    pub(super) median_ms: f64,
    pub(super) late_ms: f64,
}

impl Report {
    /// How often a worker was killed.
    pub fn kills(&self) -> usize {
        self.kills
    }

    /// How many intents ended in a state.
    pub fn count(&self, state: &str) -> usize {
        self.states.get(state).copied().unwrap_or_default()
    }

    /// Counts, times and maxima, and what is wrong.
    pub fn text(&self) -> String {
        let (intents, seconds) = (self.options.intents, self.took.as_secs_f64());
        let states: Vec<String> = self.states.iter().map(|(state, n)| format!("{n} {state}")).collect();
        let mut text = format!("{intents} intents by {} workflows: {}\n", self.workflows, states.join(", "));
        #[allow(clippy::cast_precision_loss)] // for people
        let rate = intents as f64 / seconds;
        let _ = writeln!(text, "{seconds:.0} s, {rate:.1} intents/s, {} workers killed", self.kills);
        for Spread { what, median_ms, late_ms } in &self.spreads {
            let _ = writeln!(text, "{what}: median {median_ms:.0} ms, 95 % within {late_ms:.0} ms");
        }
        text.push_str("\n| venue | gate | claims at once | placements at once | placements | orders |\n|---|---|---|---|---|---|\n");
        for VenueRow { name, gate, claims, at_once, placements, orders } in &self.venues {
            let _ = writeln!(text, "| {name} | {gate} | {claims} | {at_once} | {placements} | {orders} |");
        }
        let (gate, placements) =
            (self.options.global_gate, self.venues.iter().map(|venue| venue.placements).sum::<u64>());
        let orders: usize = self.venues.iter().map(|venue| venue.orders).sum();
        let _ = writeln!(text, "| all | {gate} | {} | | {placements} | {orders} |", self.global);
        let _ = writeln!(text, "| one strategy | 1 | {} | | | |\n", self.strategy);
        match self.wrong.len() {
            0 => text.push_str("Nothing twice, nothing lost, no gate exceeded, no money missing.\n"),
            n => {
                let _ = writeln!(text, "{n} violations:");
            }
        }
        for what in self.wrong.iter().take(SHOWN_MAX) {
            let _ = writeln!(text, "    {what}");
        }
        text
    }
}
