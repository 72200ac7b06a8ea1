//! `backstop house`: what is the house's own at a venue, as an operator declares it.

use std::fmt::Write;

use anyhow::{Context, Result};
use backstop_domain::Amount;
use clap::Args;

use crate::operate::{BooksAddress, Word};

/// The settings of `backstop house`. Without any it shows what is declared.
#[derive(Args, Clone, Debug)]
pub struct House {
    /// The venue that holds it
    #[arg(long, requires_all = ["asset", "amount"])]
    venue: Option<String>,
    /// Of which asset
    #[arg(long, requires = "venue")]
    asset: Option<String>,
    /// How much of what the venue holds is owed to nobody; below zero: what the house has to put back
    #[arg(long, requires = "venue", allow_negative_numbers = true)]
    amount: Option<String>,
    /// Why
    #[arg(long, requires = "venue", default_value = "")]
    reason: String,
    /// Who declares this; unless given, the name of the user who runs this program
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    books: BooksAddress,
}

/// Declares a position, if one is given, and says what is declared.
///
/// # Errors
/// When the amount is none, or the books refuse or can't be reached.
pub async fn house(options: House) -> Result<String> {
    let books = options.books.connect().await?;
    let mut text = String::new();
    if let (Some(venue), Some(asset), Some(amount)) = (&options.venue, &options.asset, &options.amount) {
        let digits = amount.strip_prefix('-').unwrap_or(amount);
        Amount::parse_part(digits)
            .map_err(|expected| anyhow::anyhow!("--amount: expected {expected}, got {amount:?}"))?;
        let by = Word { reason: options.reason.clone(), by: options.by.clone() }.by()?;
        let declared = books.house_position_set(venue, asset, amount, &by, &options.reason).await;
        let new = declared.context("declaring the position")?;
        writeln!(text, "{}", if new { "declared" } else { "declared before; nothing has changed" })?;
    }
    for (venue, asset, amount) in books.house_positions().await? {
        writeln!(text, "{venue}: {amount} {asset}")?;
    }
    Ok(if text.is_empty() { "nothing is declared to be the house's own\n".into() } else { text })
}
