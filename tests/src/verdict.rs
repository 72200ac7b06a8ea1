use rust_decimal::Decimal;
use sqlx::{PgConnection, Row};

use crate::{Exchange, books_checker, world::FUNDS};

/// What became of a payout, by both books. There are no other lawful ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The books say settled, and the exchange paid it exactly once.
    Paid,
    /// The books say returned, and the exchange paid nothing.
    Returned,
    /// The books say that it was ended before it was sent, and the exchange paid nothing.
    Abandoned,
    /// Nobody knows yet: the money is in transit, and the exchange paid it at most once.
    NeedsOperator,
    /// The books know of no such payout, and the exchange paid nothing.
    Nothing,
}

impl Verdict {
    /// Compares both books about the only payout of a user.
    ///
    /// # Errors
    /// Says what is unlawful.
    pub async fn of(books: &mut PgConnection, exchange: &Exchange, payout_id: &str) -> Result<Self, String> {
        let unsound = books_checker::check(books).await;
        if !unsound.is_empty() {
            return Err(format!("the books are unsound: {unsound:?}"));
        }
        let made = exchange.withdrawals(payout_id).await;
        let paying: Vec<_> = made.iter().filter(|withdrawal| withdrawal.pays()).collect();
        let row = sqlx::query(
            "SELECT p.state, p.owner, p.asset, p.amount::text, p.network_fee::text, p.venue_reference, p.in_transit::text
               FROM payouts AS p WHERE p.payout_id = $1",
        )
        .bind(payout_id)
        .fetch_optional(&mut *books)
        .await
        .unwrap();
        let Some(row) = row else {
            return if paying.is_empty() { Ok(Self::Nothing) } else { Err(format!("not in the books, but {made:?}")) };
        };
        let number = |column: &str| row.get::<Option<String>, _>(column).map(|text| text.parse::<Decimal>().unwrap());
        let (amount, state): (Decimal, String) = (number("amount").unwrap(), row.get("state"));
        let available: String =
            sqlx::query_scalar("SELECT available::text FROM accounts WHERE owner = $1 AND asset = $2")
                .bind(row.get::<String, _>("owner"))
                .bind(row.get::<String, _>("asset"))
                .fetch_one(&mut *books)
                .await
                .unwrap();
        let gone = FUNDS.parse::<Decimal>().unwrap() - available.parse::<Decimal>().unwrap();
        let say = |why: &str| Err(format!("{payout_id} is {state}, the user is down by {gone}: {why}: {made:?}"));
        let in_transit = number("in_transit").unwrap();
        match (state.as_str(), paying.as_slice()) {
            ("settled", [paid]) => {
                let reference: Option<String> = row.get("venue_reference");
                let same = paid.amount == amount && Some(paid.fee) == number("network_fee");
                if !same || reference.as_deref() != Some(&paid.id) || paid.state != "completed" {
                    return say("the exchange's record differs");
                }
                if gone == amount { Ok(Self::Paid) } else { say("the user's balance is off") }
            }
            ("settled", _) => say("not paid exactly once"),
            ("returned" | "abandoned", []) if !gone.is_zero() => say("the user's balance is off"),
            ("returned", []) => Ok(Self::Returned),
            ("abandoned", []) => Ok(Self::Abandoned),
            ("returned" | "abandoned", _) => say("the user has both"),
            ("needs_operator", [] | [_]) if gone == amount && in_transit == amount => Ok(Self::NeedsOperator),
            _ => say("that is no end"),
        }
    }
}
