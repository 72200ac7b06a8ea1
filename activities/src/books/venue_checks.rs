use backstop_domain::reconcile::Deviation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, postgres::PgArguments, query::QueryScalar, types::Json};

use super::{Books, BooksError};

/// An order that the venue is asked about.
#[derive(Debug, FromRow)]
pub struct ComparedOrder {
    /// Our id of it.
    pub order_id: String,
    /// `attempted` or `placed`.
    pub state: String,
    /// The venue's id of it, once known.
    pub venue_order_id: Option<String>,
}

/// An order that may trade.
#[derive(Debug, FromRow)]
pub struct CustodyOrder {
    /// Our id of it.
    pub order_id: String,
    /// Its market, by the venue's name.
    pub symbol: String,
    /// The venue's id of it, once known.
    pub venue_order_id: Option<String>,
    /// How much of it is booked, a decimal string.
    pub booked: String,
}

/// What is owed of an asset, and what is the house's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromRow)]
pub struct OwedRow {
    /// The asset.
    pub asset: String,
    /// What users, suspense and the house's accounts have, at rest and in transit; a decimal string.
    pub owed: String,
    /// What is the house's own, a decimal string.
    pub house: String,
    /// Changes with whatever moves it.
    pub stamp: String,
}

/// What of a venue's balance of an asset the books are about to book.
#[derive(Debug, FromRow)]
pub struct Explained {
    /// The asset.
    pub asset: String,
    /// How much, a decimal string.
    pub explained: String,
    /// Why nobody can tell now, if so.
    pub unclear: Option<String>,
}

/// An asset that all venues hold together, against the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromRow)]
pub struct CustodyRow {
    /// The asset.
    pub asset: String,
    /// `fits`, `differs`, or `moving`, which says nothing.
    pub state: String,
    /// What moved.
    pub note: String,
    /// What the venues hold, a decimal string.
    pub held: String,
    /// What is owed.
    pub owed: String,
    /// What is the house's own.
    pub house: String,
    /// What of it is explained by what is about to be booked.
    pub explained: String,
    /// What is left of it; zero when it fits.
    pub rest: String,
}

type Deviations<'q> = QueryScalar<'q, sqlx::Postgres, Json<Vec<Deviation>>, PgArguments>;

impl Books {
    async fn deviations(&self, query: Deviations<'_>) -> Result<Vec<Deviation>, BooksError> {
        let Json(deviations) = query.fetch_one(self.pool()).await?;
        Ok(deviations)
    }

    /// When the oldest open finding of a check that nobody answers for was seen first, ms since 1970.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn oldest_finding_ms(&self, check: &str) -> Result<Option<i64>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT at_ms(min(first_seen)) FROM findings WHERE state = 'open' AND found_by = $1 AND acknowledged_by IS NULL",
        );
        Ok(query.bind(check).fetch_one(self.pool()).await?)
    }

    /// The open findings of a venue's check that are about these markets; of each no more than its kind and subject count.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn findings_at(&self, check: &str, symbols: &[String]) -> Result<Vec<Deviation>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT coalesce(jsonb_agg(jsonb_build_object(
                        'kind', kind, 'subject', subject, 'severity', severity, 'evidence', evidence)), '[]')
               FROM findings
              WHERE state = 'open' AND found_by = $1
                AND coalesce(evidence ->> 'symbol', split_part(split_part(subject, '/', 3), ':', 1)) = ANY ($2)",
        );
        self.deviations(query.bind(check).bind(symbols)).await
    }

    /// The assets of which a venue may hold something else than its records show, as long as these markets can't be looked
    /// at: those that their live orders trade, and what fees may be taken of.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn assets_at(&self, venue: &str, symbols: &[String]) -> Result<Vec<String>, BooksError> {
        let query = sqlx::query_scalar(
            "WITH live AS (
                 SELECT base, quote FROM orders
                  WHERE venue = $1 AND base || quote = ANY ($2) AND state IN ('opened', 'attempted', 'placed'))
             SELECT base FROM live UNION SELECT quote FROM live
             UNION SELECT asset FROM house_positions WHERE venue = $1 AND EXISTS (SELECT FROM live)",
        );
        Ok(query.bind(venue).bind(symbols).fetch_all(self.pool()).await?)
    }

    /// What is wrong between a venue's withdrawals since `from_ms` and the payouts. The look at the venue began at
    /// `looked_at_ms` by the books' clock.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn check_payouts(
        &self,
        venue: &str,
        records: &Value,
        from_ms: i64,
        looked_at_ms: i64,
        visibility_ms: i32,
    ) -> Result<Vec<Deviation>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT coalesce(jsonb_agg(d), '[]')
               FROM (SELECT * FROM check_withdrawals($1, $2, $4) UNION ALL SELECT * FROM check_settled($1, $2, $3, $4, $5)) AS d",
        );
        let query = query.bind(venue).bind(records).bind(from_ms).bind(looked_at_ms).bind(visibility_ms);
        self.deviations(query).await
    }

    /// What is wrong between a venue's deposits since `from_ms` and those of the books; of those that are not in the books
    /// only since `since_ms`, and none without that.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn check_deposits(
        &self,
        venue: &str,
        records: &Value,
        unreadable: &[&str],
        from_ms: i64,
        since_ms: Option<i64>,
        looked_at_ms: i64,
    ) -> Result<Vec<Deviation>, BooksError> {
        let sql = "SELECT coalesce(jsonb_agg(d), '[]') FROM check_deposits($1, $2, $3, $4, $5, $6) AS d";
        let query = sqlx::query_scalar(sql).bind(venue).bind(records).bind(unreadable);
        self.deviations(query.bind(from_ms).bind(since_ms).bind(looked_at_ms)).await
    }

    /// The orders of a market that may be open at the venue.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn orders_to_compare(&self, venue: &str, symbol: &str) -> Result<Vec<ComparedOrder>, BooksError> {
        let query = sqlx::query_as("SELECT * FROM orders_to_compare($1, $2)");
        Ok(query.bind(venue).bind(symbol).fetch_all(self.pool()).await?)
    }

    /// What is wrong with orders of a market by themselves: those that the books don't know, or know not to be open, or not to
    /// have traded.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn check_strange_orders(
        &self,
        venue: &str,
        symbol: &str,
        orders: &Value,
    ) -> Result<Vec<Deviation>, BooksError> {
        let sql = "SELECT coalesce(jsonb_agg(d), '[]') FROM check_strange_orders($1, $2, $3) AS d";
        self.deviations(sqlx::query_scalar(sql).bind(venue).bind(symbol).bind(orders)).await
    }

    /// What is wrong with the orders of a market, and with its trades since `from_ms`. `absent` were asked for by the
    /// venue's ids, and are not there.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn check_orders(
        &self,
        (venue, symbol): (&str, &str),
        (orders, absent, trades): (&Value, &[String], &Value),
        from_ms: i64,
        looked_at_ms: i64,
        visibility_ms: i32,
    ) -> Result<Vec<Deviation>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT coalesce(jsonb_agg(d), '[]')
               FROM (SELECT * FROM check_orders($1, $2, $3, $4, $6, $7, $8)
                     UNION ALL SELECT * FROM check_fills($1, $2, $5, $6, $7)) AS d",
        );
        let query = query.bind(venue).bind(symbol).bind(orders).bind(absent).bind(trades);
        self.deviations(query.bind(from_ms).bind(looked_at_ms).bind(visibility_ms)).await
    }

    /// What is owed of each asset now.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn custody_books(&self) -> Result<Vec<OwedRow>, BooksError> {
        let sql = "SELECT asset, owed::text, house::text, stamp FROM custody_books()";
        Ok(sqlx::query_as(sql).fetch_all(self.pool()).await?)
    }

    /// The orders that may trade at a venue.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn custody_orders(&self, venue: &str) -> Result<Vec<CustodyOrder>, BooksError> {
        let sql = "SELECT * FROM custody_orders($1)";
        Ok(sqlx::query_as(sql).bind(venue).fetch_all(self.pool()).await?)
    }

    /// What of a venue's balances the books are about to book, by what it showed since `looked_at_ms`.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn custody_explained(
        &self,
        venue: &str,
        [withdrawals, deposits, orders, trades]: [&Value; 4],
        looked_at_ms: i64,
    ) -> Result<Vec<Explained>, BooksError> {
        let sql = "SELECT asset, explained::text, unclear FROM custody_explained($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query_as(sql).bind(venue).bind(withdrawals).bind(deposits).bind(orders).bind(trades);
        Ok(query.bind(looked_at_ms).fetch_all(self.pool()).await?)
    }

    /// Holds what all venues hold against the books, read before as `before`, and read again now.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn custody_compared(&self, before: &[OwedRow], holdings: &Value) -> Result<Vec<CustodyRow>, BooksError> {
        let query = sqlx::query_as("SELECT * FROM custody_compared($1, $2)").bind(Json(before)).bind(holdings);
        Ok(query.fetch_all(self.pool()).await?)
    }

    /// Says what is the house's own of an asset at a venue. Returns whether that changes anything.
    ///
    /// # Errors
    /// Refused for an asset that nobody knows, and without a name or a reason.
    pub async fn house_position_set(
        &self,
        venue: &str,
        asset: &str,
        amount: &str,
        by: &str,
        reason: &str,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT house_position_set($1, $2, $3::numeric, $4, $5)");
        Ok(query.bind(venue).bind(asset).bind(amount).bind(by).bind(reason).fetch_one(self.pool()).await?)
    }

    /// What operators have declared to be the house's own, as venue, asset and amount.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn house_positions(&self) -> Result<Vec<(String, String, String)>, BooksError> {
        let sql = "SELECT venue, asset, trim_scale(amount)::text FROM house_positions ORDER BY venue, asset";
        Ok(sqlx::query_as(sql).fetch_all(self.pool()).await?)
    }
}
