//! Endpoints, and what is delivered to them.

use std::time::Duration;

use serde_json::Value;
use sqlx::FromRow;

use super::{Books, BooksError, payouts::millis};

/// Somebody who gets events.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Where they are sent.
    pub url: String,
    /// Which kinds it gets: whole names, and beginnings as in `payout.*`.
    pub kinds: Vec<String>,
    /// Whether it gets those, too, that were there before it.
    pub from_beginning: bool,
}

/// A stream that this process may send to its endpoint for now.
#[derive(Clone, Debug, FromRow)]
pub struct Leased {
    /// Whose events.
    pub aggregate: String,
    /// Tells this lease from a later one.
    pub token: i64,
}

/// An event, as the books have it.
#[derive(Clone, Debug, FromRow)]
pub struct Event {
    /// Its place in its aggregate.
    pub place: i64,
    /// What it is called, wherever it goes and however often.
    pub id: String,
    /// What has happened.
    pub kind: String,
    /// When (RFC 3339).
    pub at: String,
    /// What there is to say of it.
    pub data: Value,
}

/// What a failed delivery says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event: the endpoint has answered that it does not take it.
    Event,
    /// The endpoint: it was not reached, or wants to be left alone.
    Endpoint,
    /// There was no answer.
    Unclear,
}

/// A delivery that failed.
#[derive(Clone, Debug)]
pub struct NotTaken {
    /// What that says something about.
    pub fault: Fault,
    /// Why, in words.
    pub reason: String,
    /// For how long the endpoint wants to be left alone.
    pub after: Option<Duration>,
}

/// How an endpoint's pauses grow, and when a stream is given up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The first pause after a failure; each that follows is twice as long.
    pub pause: Duration,
    /// After so many answers that an event is not taken, its stream waits for an operator.
    pub attempts_max: i32,
}

/// How far behind an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Lag {
    /// Which endpoint.
    pub endpoint: String,
    /// For how long the oldest event waits that it has not got, ms; 0 when none does.
    pub lag_ms: i64,
    /// How many aggregates have something for it.
    pub behind: i64,
    /// How many of these wait for an operator.
    pub dead: i64,
    /// For how long it is left alone yet, ms.
    pub closed_ms: Option<i64>,
    /// Why.
    pub closed_why: Option<String>,
}

/// A stream that has something for its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Behind {
    /// Which endpoint.
    pub endpoint: String,
    /// Whose events.
    pub aggregate: String,
    /// How many times the endpoint has answered that it does not take the next one.
    pub attempts: i32,
    /// How its last delivery failed.
    pub last_error: Option<String>,
    /// The event that it was given up for, while it is.
    pub dead_event: Option<String>,
    /// Since when, for people.
    pub dead_since: Option<String>,
}

impl Books {
    /// Gives an endpoint events of these kinds (of all, without any), from now on or from the beginning. Returns whether it
    /// was new.
    ///
    /// # Errors
    /// `InvalidInput` names what is wrong; `Conflict` when the name is taken with other content.
    pub async fn endpoint_add(&self, endpoint: &Endpoint, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT endpoint_add($1, $2, $3, $4, $5, $6)").bind(&endpoint.name);
        let query = query.bind(&endpoint.url).bind(&endpoint.kinds).bind(endpoint.from_beginning).bind(by).bind(reason);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Takes an endpoint away, with all that it has not got. Returns whether there was one.
    ///
    /// # Errors
    /// `InvalidInput` without a name or a reason.
    pub async fn endpoint_remove(&self, name: &str, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT endpoint_remove($1, $2, $3)").bind(name).bind(by).bind(reason);
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Every endpoint.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, BooksError> {
        let sql = "SELECT name, url, kinds, since IS NULL AS from_beginning FROM endpoints ORDER BY name";
        Ok(sqlx::query_as(sql).fetch_all(self.pool()).await?)
    }

    /// Finds what is new, a round of about `limit` events. Returns whether there is more.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn outbox_relay(&self, limit: i32) -> Result<bool, BooksError> {
        Ok(sqlx::query_scalar("SELECT outbox_relay($1)").bind(limit).fetch_one(self.pool()).await?)
    }

    /// Takes streams that have something for the endpoint.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn stream_lease(
        &self,
        endpoint: &Endpoint,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Leased>, BooksError> {
        let query = sqlx::query_as("SELECT * FROM stream_lease($1, $2, $3, $4, $5)");
        let query = query.bind(&endpoint.name).bind(&endpoint.url).bind(self.lane());
        let query = query.bind(i32::try_from(limit).unwrap_or(i32::MAX)).bind(millis(lease));
        Ok(query.fetch_all(self.pool()).await?)
    }

    /// The next events of a stream, in order; none when it is up to date, and free again, or held by another.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn stream_events(
        &self,
        endpoint: &str,
        stream: &Leased,
        limit: i32,
        lease: Duration,
    ) -> Result<Vec<Event>, BooksError> {
        let query = sqlx::query_as("SELECT * FROM stream_events($1, $2, $3, $4, $5)").bind(endpoint);
        let query = query.bind(&stream.aggregate).bind(stream.token).bind(limit).bind(millis(lease));
        Ok(query.fetch_all(self.pool()).await?)
    }

    /// Records that the stream is delivered up to there. Returns whether the caller may go on with it.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn stream_delivered(
        &self,
        endpoint: &str,
        stream: &Leased,
        place: i64,
        lease: Duration,
    ) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT stream_delivered($1, $2, $3, $4, $5)").bind(endpoint);
        let query = query.bind(&stream.aggregate).bind(stream.token).bind(place).bind(millis(lease));
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Records that an event was not taken, and lets go of its stream.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn stream_failed(
        &self,
        endpoint: &str,
        stream: &Leased,
        place: i64,
        failed: &NotTaken,
        patience: Patience,
    ) -> Result<(), BooksError> {
        let about = match failed.fault {
            Fault::Event => "event",
            Fault::Endpoint => "endpoint",
            Fault::Unclear => "unclear",
        };
        let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let query = sqlx::query("SELECT stream_failed($1, $2, $3, $4, $5, $6, $7, $8, $9)").bind(endpoint);
        let query = query.bind(&stream.aggregate).bind(stream.token).bind(place).bind(about).bind(&failed.reason);
        let query = query.bind(failed.after.map(milliseconds)).bind(milliseconds(patience.pause));
        query.bind(patience.attempts_max).execute(self.pool()).await?;
        Ok(())
    }

    /// Gives a stream back before it is up to date.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn stream_release(&self, endpoint: &str, stream: &Leased) -> Result<(), BooksError> {
        let query = sqlx::query("SELECT stream_release($1, $2, $3)").bind(endpoint).bind(&stream.aggregate);
        query.bind(stream.token).execute(self.pool()).await?;
        Ok(())
    }

    /// An operator's word on what was given up, of one aggregate or of all: it is tried again, or passed over. Returns the
    /// events that it was about.
    ///
    /// # Errors
    /// `NotFound` when there is no such endpoint, or nothing of that aggregate is dead; `InvalidInput` without a name or a
    /// reason.
    pub async fn delivery_decide(
        &self,
        endpoint: &str,
        aggregate: Option<&str>,
        skip: bool,
        by: &str,
        reason: &str,
    ) -> Result<Vec<String>, BooksError> {
        let query = sqlx::query_scalar("SELECT delivery_decide($1, $2, $3, $4, $5)").bind(endpoint).bind(aggregate);
        Ok(query.bind(skip).bind(by).bind(reason).fetch_one(self.pool()).await?)
    }

    /// How far behind every endpoint is.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn outbox_lag(&self) -> Result<Vec<Lag>, BooksError> {
        let sql = "SELECT endpoint, floor(extract(epoch FROM lag) * 1000)::bigint AS lag_ms, behind, dead, x.closed_ms,
                          CASE WHEN x.closed_ms IS NOT NULL THEN closed_why END AS closed_why
                     FROM outbox_lag LEFT JOIN LATERAL (
                          SELECT ceil(extract(epoch FROM closed_until - clock_timestamp()) * 1000)::bigint AS closed_ms
                           WHERE closed_until > clock_timestamp()) AS x ON true
                    ORDER BY endpoint";
        Ok(sqlx::query_as(sql).fetch_all(self.pool()).await?)
    }

    /// The first streams that have something for their endpoints; or of these, those that wait for an operator.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn streams_behind(&self, dead: bool, limit: i64) -> Result<Vec<Behind>, BooksError> {
        let sql = "SELECT endpoint, aggregate, attempts, last_error,
                          CASE WHEN dead_since IS NOT NULL THEN event_id(account, dead_place) END AS dead_event,
                          to_char(dead_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS dead_since
                     FROM streams WHERE head > delivered AND (dead_since IS NOT NULL OR NOT $1)
                    ORDER BY endpoint, aggregate LIMIT $2";
        Ok(sqlx::query_as(sql).bind(dead).bind(limit).fetch_all(self.pool()).await?)
    }
}
