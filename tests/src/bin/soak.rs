//! Runs the soak and prints what came of it. Under `with-servers`, as in `make soak`.
//!
//! `INTENTS`, `STRATEGIES`, `SEED`, `KILL_EVERY_MS`, `STARTED_AHEAD` (workflows that run at once), `VENUE_GATE` and
//! `GLOBAL_GATE` say how much, and how rough.

use std::{process::ExitCode, time::Duration};

use backstop_tests::soak::{self, Options};

fn main() -> ExitCode {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let number = |name: &str, otherwise: usize| {
        named(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
    };
    let usual = Options::default();
    let kill_every = usize::try_from(usual.kill_every.as_millis()).unwrap_or_default();
    let options = Options {
        intents: number("INTENTS", usual.intents),
        strategies: number("STRATEGIES", usual.strategies),
        seed: u64::try_from(number("SEED", 1)).unwrap_or_default(),
        kill_every: Duration::from_millis(u64::try_from(number("KILL_EVERY_MS", kill_every)).unwrap_or_default()),
        started_ahead: number("STARTED_AHEAD", usual.started_ahead),
        venue_gate: number("VENUE_GATE", usual.venue_gate),
        global_gate: number("GLOBAL_GATE", usual.global_gate),
        ..usual
    };
    println!("{options:?}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_stage, report) = runtime.block_on(soak::run(&options));
    println!("\n{}", report.text());
    if report.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
