//! What the intents want, chosen by the seed.

use super::Options;
use crate::matrix::dice::Dice;

/// One order, and perhaps its cancelling.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Names its intents within the run.
    pub(super) number: usize,
    /// Whose intent it is, by its number.
    pub(super) strategy: usize,
    /// Buys far below the market; else sells far above it.
    pub(super) buys: bool,
    pub(super) wants: Wants,
    pub(super) starts: Starts,
}

/// What is to become of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// It stays at the venue.
    Placed,
    /// A second intent cancels it.
    Cancelled,
    /// The same, when a part of it has been traded.
    TradedAndCancelled,
    /// The venue refuses it.
    Refused,
    /// Its user has not got that much.
    TooMuch,
}

/// How often the workflow is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    Once,
    /// Twice at once under the same workflow id.
    Twice,
    /// At once under another workflow id, too.
    UnderAnotherId,
}

impl Job {
    /// How many intents it takes.
    fn intents(&self) -> usize {
        if self.cancels() { 2 } else { 1 }
    }

    pub(super) fn cancels(&self) -> bool {
        matches!(self.wants, Wants::Cancelled | Wants::TradedAndCancelled)
    }

    /// What it takes to be refused: a price that would be taken at once, for an order that must not be.
    pub(super) fn post_only(&self) -> bool {
        self.wants == Wants::Refused
    }

    pub(super) fn price(&self) -> &'static str {
        match (self.wants, self.buys) {
            (Wants::Refused, true) | (Wants::Placed | Wants::Cancelled | Wants::TradedAndCancelled, false) => "120000",
            (Wants::Refused, false) => "80000",
            (Wants::TooMuch, _) | (_, true) => "10000",
        }
    }

    pub(super) fn quantity(&self) -> &'static str {
        if self.wants == Wants::TooMuch { "800" } else { "0.001" }
    }
}

/// Jobs for exactly so many intents.
pub(super) fn of(options: &Options) -> Vec<Job> {
    let mut dice = Dice::new("soak", options.seed);
    let (mut jobs, mut left) = (Vec::new(), options.intents);
    while left > 0 {
        let wants = match dice.below(100) {
            0..6 if left > 1 => Wants::Cancelled,
            6..12 if left > 1 => Wants::TradedAndCancelled,
            12..15 => Wants::Refused,
            15..18 => Wants::TooMuch,
            _ => Wants::Placed,
        };
        let starts = match dice.below(100) {
            0..4 => Starts::Twice,
            4..8 => Starts::UnderAnotherId,
            _ => Starts::Once,
        };
        let job =
            Job { number: jobs.len(), strategy: dice.below(options.strategies), buys: dice.flip(), wants, starts };
        left -= job.intents();
        jobs.push(job);
    }
    jobs
}
