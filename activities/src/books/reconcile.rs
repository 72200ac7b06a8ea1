use backstop_domain::reconcile::{CheckReport, Deviation, Finding, Seal};
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow, types::Json};

use super::{Books, BooksError};
use crate::reconcile::DEVIATIONS_MAX;

/// What a check has come to.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Its name: a finding is closed by the check that has found it.
    pub check: &'a str,
    /// The run that it belongs to.
    pub run: &'a str,
    /// Findings that were first seen since then are over when they are not seen now; none, without it.
    pub closes_from_ms: Option<i64>,
    /// What is wrong.
    pub deviations: &'a [Deviation],
    /// What may be wrong or not: nothing is opened for it, and nothing closed.
    pub unclear: &'a [Deviation],
}

/// What is wrong with what is new in the books.
#[derive(Debug)]
pub struct News {
    /// Where the next look begins: a transaction id.
    pub cursor: String,
    /// How many entries there were to look at.
    pub seen: i64,
    /// What is wrong with them, and with their accounts.
    pub deviations: Vec<Deviation>,
}

/// A page of the full pass.
#[derive(Debug, FromRow)]
pub struct EntryPage {
    /// The last account that it looked at, and the last version of it.
    pub account: i64,
    /// See `account`.
    pub version: i64,
    /// What the entries of that account come to in transit, up to there.
    pub transit: String,
    /// How many rows it looked at.
    pub seen: i64,
    /// What is wrong with them.
    pub deviations: Json<Vec<Deviation>>,
}

/// A page of accounts.
#[derive(Debug, FromRow)]
pub struct AccountPage {
    /// The last account that it looked at.
    pub account: i64,
    /// How many rows it looked at.
    pub seen: i64,
    /// What is wrong with them.
    pub deviations: Json<Vec<Deviation>>,
}

/// A page of what was sealed.
#[derive(Debug, FromRow)]
pub struct HeadPage {
    /// The last account that it looked at.
    pub account: i64,
    /// The last seal.
    pub seq: i64,
    /// How many rows it looked at.
    pub seen: i64,
    /// What is wrong with them.
    pub deviations: Json<Vec<Deviation>>,
}

#[derive(FromRow)]
struct Reported {
    opened: i64,
    closed: i64,
    frozen: i64,
}

#[derive(FromRow)]
struct FindingRow {
    id: i64,
    kind: String,
    subject: String,
    severity: String,
    state: String,
    acknowledged_by: Option<String>,
    found_by: Option<String>,
    first_seen: String,
    last_seen: String,
    evidence: Value,
}

const FINDING: &str = "SELECT id, kind, subject, severity, state, acknowledged_by, found_by, evidence,
       to_char(first_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS first_seen,
       to_char(last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS last_seen
  FROM findings";

impl Books {
    /// Takes down what a check has come to. At most `freezes_max` accounts are frozen by one run; beyond, everything is
    /// halted. Said again, it changes nothing.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn findings_report(&self, look: &Look<'_>, freezes_max: i32) -> Result<CheckReport, BooksError> {
        let Look { check, run, closes_from_ms, deviations, unclear } = *look;
        let query = sqlx::query_as::<_, Reported>(
            "SELECT (r ->> 'opened')::bigint AS opened, (r ->> 'closed')::bigint AS closed, (r ->> 'frozen')::bigint AS frozen
               FROM findings_report($1, $2, $3, $4, $5, $6) AS r",
        );
        let query = query.bind(check).bind(run).bind(closes_from_ms).bind(Json(deviations)).bind(Json(unclear));
        let query = query.bind(freezes_max);
        let reported = query.fetch_one(self.pool()).await?;
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(CheckReport {
            check: check.to_owned(),
            deviations: u32::try_from(deviations.len()).unwrap_or(u32::MAX),
            opened: count(reported.opened),
            closed: count(reported.closed),
            frozen: count(reported.frozen),
            note: String::new(),
            looked: true,
        })
    }

    /// What one of the books' own checks, `check_<name>`, sees.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn check(&self, name: &'static str) -> Result<Vec<Deviation>, BooksError> {
        let sql = format!("SELECT coalesce(jsonb_agg(d), '[]') FROM check_{name}() AS d");
        let Json(deviations) = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(self.pool()).await?;
        Ok(deviations)
    }

    /// Looks at every entry since the last seal, about so many at once, and at the accounts that they are of. What is found wrong
    /// is said once, and the first thousand of it say enough.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn books_news(&self, at_once: i32) -> Result<News, BooksError> {
        // Taken before the look: what commits meanwhile is above it, and looked at the next time.
        let (cursor, mut from): (String, String) =
            sqlx::query_as("SELECT pg_snapshot_xmin(pg_current_snapshot())::text, seal_cursor()::text")
                .fetch_one(self.pool())
                .await?;
        let mut news = News { cursor, seen: 0, deviations: Vec::new() };
        loop {
            let to: Option<String> = sqlx::query_scalar("SELECT news_end($1::xid8, $2)::text")
                .bind(&from)
                .bind(at_once)
                .fetch_one(self.pool())
                .await?;
            let (seen, Json(deviations)): (i64, Json<Vec<Deviation>>) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM entries WHERE xid >= $1::xid8 AND ($2::xid8 IS NULL OR xid < $2::xid8)),
                        (SELECT coalesce(jsonb_agg(d), '[]') FROM books_news($1::xid8, $2::xid8) AS d)",
            )
            .bind(&from)
            .bind(&to)
            .fetch_one(self.pool())
            .await?;
            news.seen += seen;
            for deviation in deviations {
                // An account has entries on many pages.
                if news.deviations.len() <= DEVIATIONS_MAX && !news.deviations.contains(&deviation) {
                    news.deviations.push(deviation);
                }
            }
            match to {
                Some(to) => from = to,
                None => return Ok(news),
            }
        }
    }

    /// Seals what is new. `cursor` is that of the look at it.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn seal(&self, cursor: &str) -> Result<Seal, BooksError> {
        let query = sqlx::query_as("SELECT seq, entries, encode(digest, 'hex') FROM seal($1::xid8)");
        let (seq, entries, digest) = query.bind(cursor).fetch_one(self.pool()).await?;
        Ok(Seal { seq, entries, digest })
    }

    /// Holds the books against what an earlier run has sealed; what is wrong, if anything. Then everything is halted.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn seal_check(&self, seal: &Seal) -> Result<Option<String>, BooksError> {
        let query = sqlx::query_scalar("SELECT seal_check($1, $2, decode($3, 'hex'))");
        Ok(query.bind(seal.seq).bind(seal.entries).bind(&seal.digest).fetch_one(self.pool()).await?)
    }

    /// The page of entries that follows another one; none after the last.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn books_page(
        &self,
        (account, version, transit): (i64, i64, &str),
        rows: i32,
    ) -> Result<Option<EntryPage>, BooksError> {
        let query = sqlx::query_as(
            "SELECT account, version, transit::text, seen, deviations FROM books_page($1, $2, $3::numeric, $4)",
        );
        Ok(query.bind(account).bind(version).bind(transit).bind(rows).fetch_optional(self.pool()).await?)
    }

    /// The next page of accounts after that one; none after the last.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn accounts_page(&self, after: i64, rows: i32) -> Result<Option<AccountPage>, BooksError> {
        let query = sqlx::query_as("SELECT account, seen, deviations FROM accounts_page($1, $2)");
        Ok(query.bind(after).bind(rows).fetch_optional(self.pool()).await?)
    }

    /// The next page of sealed heads after that one of that account; none after the last.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn heads_page(&self, account: i64, seq: i64, rows: i32) -> Result<Option<HeadPage>, BooksError> {
        let query = sqlx::query_as("SELECT account, seq, seen, deviations FROM heads_page($1, $2, $3)");
        Ok(query.bind(account).bind(seq).bind(rows).fetch_optional(self.pool()).await?)
    }

    /// The next page of seals after that one; none after the last.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn seals_page(&self, seq: i64, rows: i32) -> Result<Option<HeadPage>, BooksError> {
        let query = sqlx::query_as("SELECT 0::bigint AS account, seq, seen, deviations FROM seals_page($1, $2)");
        Ok(query.bind(seq).bind(rows).fetch_optional(self.pool()).await?)
    }

    /// What a check has found, or seen again, since then, and what is open still.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn found_since(&self, check: &str, since_ms: i64) -> Result<Vec<Deviation>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'subject', subject, 'severity', severity,
                                                          'measure', measure, 'evidence', evidence)), '[]')
               FROM findings WHERE state = 'open' AND found_by = $1 AND at_ms(last_seen) >= $2",
        );
        let Json(found) = query.bind(check).bind(since_ms).fetch_one(self.pool()).await?;
        Ok(found)
    }

    /// A mark below which every transaction that may still commit something now has its id.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn horizon(&self) -> Result<String, BooksError> {
        let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
        Ok(sqlx::query_scalar(sql).fetch_one(self.pool()).await?)
    }

    /// Whether every transaction below such a mark is over.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn has_passed(&self, horizon: &str) -> Result<bool, BooksError> {
        let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8";
        Ok(sqlx::query_scalar(sql).bind(horizon).fetch_one(self.pool()).await?)
    }

    /// Every venue that the books know.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn venues(&self) -> Result<Vec<String>, BooksError> {
        let sql =
            "SELECT venue FROM networks UNION SELECT venue FROM strategies UNION SELECT venue FROM deposits ORDER BY 1";
        Ok(sqlx::query_scalar(sql).fetch_all(self.pool()).await?)
    }

    /// The open findings, critical ones first; with `all`, also those that are closed. And one by its number.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn findings(&self, all: bool, rows: i32) -> Result<Vec<Finding>, BooksError> {
        let sql = format!("{FINDING} WHERE $1 OR state = 'open' ORDER BY state DESC, severity, id LIMIT $2");
        let query = sqlx::query_as::<_, FindingRow>(AssertSqlSafe(sql)).bind(all).bind(rows);
        query.fetch_all(self.pool()).await?.into_iter().map(FindingRow::read).collect()
    }

    /// One finding.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn finding(&self, id: i64) -> Result<Option<Finding>, BooksError> {
        let sql = format!("{FINDING} WHERE id = $1");
        let query = sqlx::query_as::<_, FindingRow>(AssertSqlSafe(sql)).bind(id);
        query.fetch_optional(self.pool()).await?.map(FindingRow::read).transpose()
    }

    /// How many critical findings and how many warnings are open, and for how many of both somebody answers.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn findings_open(&self) -> Result<(i64, i64, i64), BooksError> {
        let query = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE severity = 'critical'), count(*) FILTER (WHERE severity = 'warning'),
                    count(acknowledged_by)
               FROM findings WHERE state = 'open'",
        );
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Somebody answers for a finding. Returns whether this call changed anything.
    ///
    /// # Errors
    /// `NotFound` when there is none of that number; `InvalidInput` without a name or a reason.
    pub async fn finding_acknowledge(&self, id: i64, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT finding_acknowledge($1, $2, $3)").bind(id).bind(by).bind(reason);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Lifts the freeze of an account. Returns whether it was frozen.
    ///
    /// # Errors
    /// `InvalidInput` without a name or a reason.
    pub async fn account_unfreeze(&self, owner: &str, asset: &str, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT account_unfreeze($1, $2, $3, $4)");
        Ok(query.bind(owner).bind(asset).bind(by).bind(reason).fetch_one(self.pool()).await?)
    }
}

impl FindingRow {
    fn read(self) -> Result<Finding, BooksError> {
        let severity = serde_json::from_value(Value::String(self.severity.clone()));
        let severity = severity.map_err(|_| BooksError::Unreadable(format!("severity {}", self.severity)))?;
        let Self { id, kind, subject, state, acknowledged_by, found_by, first_seen, last_seen, evidence, .. } = self;
        Ok(Finding { id, kind, subject, severity, state, acknowledged_by, found_by, first_seen, last_seen, evidence })
    }
}
