//! Runs the fault matrix, or a part of it, and prints the table. Under `with-servers`, as in `make fault-matrix`.
//!
//! `CELL` names a cell or the beginning of several, `SEED` the seed, `PARALLEL` how many run at a time, `SLICE=1` runs
//! what `make test` runs, `LIST=1` only names the cells.

use std::process::ExitCode;

use backstop_tests::matrix::{self, Outcome};

fn main() -> ExitCode {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let number = |name: &str, otherwise: usize| {
        named(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
    };
    let seed = u64::try_from(number("SEED", 1)).unwrap_or_default();
    let cell = named("CELL").unwrap_or_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcomes = runtime.block_on(async {
        let mut cells = Vec::new();
        for operation in matrix::operations() {
            if cell.is_empty() || cell.starts_with(operation.name()) {
                cells.extend(matrix::cells_of(&operation, seed).await);
            }
        }
        if named("SLICE").is_some() {
            cells = matrix::slice(cells, seed);
        }
        cells.retain(|known| known.name().starts_with(&cell));
        if named("LIST").is_some() {
            for cell in &cells {
                println!("{}", cell.name());
            }
            return Vec::new();
        }
        matrix::run(cells, number("PARALLEL", 10), tell).await
    });
    println!("\n{}", matrix::table(&outcomes));
    if outcomes.iter().all(Outcome::passed) && (!outcomes.is_empty() || named("LIST").is_some()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(outcome: &Outcome) {
    if outcome.passed() {
        println!("{} passed after {:.1?}", outcome.cell.name(), outcome.took);
    } else {
        println!("{}", outcome.failure());
    }
}
