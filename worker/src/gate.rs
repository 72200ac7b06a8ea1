//! `backstop gate`: sets how many intents may be in flight at once.

use anyhow::{Context, Result};
use backstop_activities::books::Books;
use clap::Args;

use crate::config::database;

/// The settings of `backstop gate`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("gate").required(true).args(["global", "venue"]))]
pub struct GateConfig {
    /// The books, as a login that holds the role `backstop_worker`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Of all venues together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub global: Option<i32>,
    /// Of one venue
    #[arg(long, num_args = 2, value_names = ["VENUE", "N"])]
    pub venue: Option<Vec<String>>,
}

/// Sets the gate and says what it was.
///
/// # Errors
/// When the books can't be reached, or refuse.
pub async fn set_gate(config: &GateConfig) -> Result<()> {
    let (venue, max_in_flight) = match (&config.venue, config.global) {
        (Some(words), _) => {
            let [venue, number] = words.as_slice() else { anyhow::bail!("--venue: expected VENUE N") };
            let number =
                number.parse().with_context(|| format!("--venue {venue}: expected a number, got {number:?}"))?;
            (Some(venue.as_str()), number)
        }
        (None, Some(number)) => (None, number),
        (None, None) => anyhow::bail!("expected --global or --venue"),
    };
    let books = Books::connect(database(&config.database_url)?, 1).await.context("connecting to the books")?;
    let before = books.gate_set(venue, max_in_flight).await?;
    let scope = venue.map_or_else(|| "all venues together".to_owned(), |venue| format!("venue {venue}"));
    println!("{scope}: {max_in_flight} intents in flight at once (before: {before})");
    Ok(())
}
