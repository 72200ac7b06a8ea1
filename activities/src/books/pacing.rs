//! Slots of a venue's, its pace, and halts.

use std::{fmt, time::Duration};

use sqlx::FromRow;

use super::{Books, BooksError, payouts::millis};

/// Which calls go first where many want to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Cancels, before everything and always. Each is followed by a look at its order, so that they leave room.
    Cancel = 0,
    /// Lookups of orders and payouts: what is out is known before anything new begins.
    Look = 1,
    /// New orders and payouts.
    Send = 2,
    /// What the market shows to everybody.
    Market = 3,
}

/// The answer to whoever asks for a venue's next slot.
#[derive(Debug)]
pub enum Slot<T> {
    /// It is the asker's.
    Granted {
        /// What it is good for.
        value: T,
        /// How long it is until then.
        wait: Duration,
        /// How long it lasts; nothing where the venue is not paced.
        interval: Duration,
    },
    /// Not now, and nothing was recorded.
    Later {
        /// How long to wait before asking again.
        wait: Duration,
        /// Why the venue wants to be left alone, if that is the reason.
        why: Option<String>,
    },
}

impl<T> Slot<T> {
    /// What was granted.
    pub fn granted(self) -> Option<T> {
        match self {
            Self::Granted { value, .. } => Some(value),
            Self::Later { .. } => None,
        }
    }
}

#[derive(FromRow)]
pub(super) struct PermitRow {
    granted: bool,
    pub(super) attempt: Option<i32>,
    pub(super) client_id: Option<String>,
    pub(super) signed_at_ms: Option<i64>,
    wait_us: i64,
    interval_ms: i32,
    why: Option<String>,
}

impl PermitRow {
    pub(super) fn read<T>(mut self, value: impl FnOnce(Self) -> Option<T>) -> Result<Slot<T>, BooksError> {
        let wait = Duration::from_micros(self.wait_us.unsigned_abs());
        if !self.granted {
            return Ok(Slot::Later { wait, why: self.why.take() });
        }
        let interval = Duration::from_millis(self.interval_ms.unsigned_abs().into());
        let value = value(self).ok_or_else(|| BooksError::Unreadable("a permit without its content".into()))?;
        Ok(Slot::Granted { value, wait, interval })
    }
}

/// What a halt is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaltScope {
    /// Everything.
    All,
    /// One venue, by its name in the books.
    Venue(String),
    /// One strategy, by its key.
    Strategy(String),
}

impl HaltScope {
    /// Its kind, and its name where it has one, as the books take them.
    pub fn parts(&self) -> (&'static str, Option<&str>) {
        (self.kind(), self.name())
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Venue(_) => "venue",
            Self::Strategy(_) => "strategy",
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Venue(name) | Self::Strategy(name) => Some(name),
        }
    }
}

/// As the books write it.
impl fmt::Display for HaltScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            None => f.write_str(self.kind()),
            Some(name) => write!(f, "{}/{name}", self.kind()),
        }
    }
}

/// A halt that is in force.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Halt {
    /// `all`, `venue/<name>` or `strategy/<key>`.
    pub scope: String,
    /// Whether it holds payouts as well as orders.
    pub payouts: bool,
    /// Who halted.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, for people.
    pub since: String,
}

/// How a venue is paced.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Pace {
    /// The venue.
    pub venue: String,
    /// From one call to the next, ms; 0: not paced.
    pub min_interval_ms: i32,
    /// For how long the venue still wants to be left alone, ms.
    pub closed_ms: Option<i64>,
    /// Why.
    pub closed_why: Option<String>,
}

impl Books {
    /// The venue's next slot, for a call that records nothing: the time to sign, ms since 1970.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn venue_slot(&self, venue: &str, priority: Priority) -> Result<Slot<i64>, BooksError> {
        let query = sqlx::query_as(
            "SELECT granted, NULL::int AS attempt, NULL AS client_id, at_ms AS signed_at_ms, wait_us, interval_ms, why
               FROM venue_slot($1, $2, $3)",
        );
        let row: PermitRow = query.bind(venue).bind(self.lane()).bind(priority as i32).fetch_one(self.pool()).await?;
        row.read(|row| row.signed_at_ms)
    }

    /// Records that the venue wants to be left alone by everybody.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn venue_back_off(&self, venue: &str, after: Duration, why: &str) -> Result<(), BooksError> {
        let query = sqlx::query("SELECT venue_back_off($1, $2, $3)").bind(venue).bind(millis(after)).bind(why);
        query.execute(self.pool()).await?;
        Ok(())
    }

    /// Sets how long it is from one call of a venue to the next; 0: not paced.
    ///
    /// # Errors
    /// `InvalidInput` for a venue that is not known, or an interval longer than a minute.
    pub async fn venue_pace_set(&self, venue: &str, min_interval_ms: i32) -> Result<(), BooksError> {
        let query = sqlx::query("SELECT venue_pace_set($1, $2)").bind(venue).bind(min_interval_ms);
        query.execute(self.pool()).await?;
        Ok(())
    }

    /// How the venues that were ever called are paced.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn paces(&self) -> Result<Vec<Pace>, BooksError> {
        let query = sqlx::query_as(
            "SELECT venue, min_interval_ms, x.closed_ms, CASE WHEN x.closed_ms IS NOT NULL THEN closed_why END AS closed_why
               FROM venues LEFT JOIN LATERAL (
                    SELECT ceil(extract(epoch FROM closed_until - clock_timestamp()) * 1000)::bigint AS closed_ms
                     WHERE closed_until > clock_timestamp()) AS x ON true
              ORDER BY venue",
        );
        Ok(query.fetch_all(self.pool()).await?)
    }

    /// Halts orders there, and payouts where that is said. Once this has returned, no attempt is recorded there any more.
    /// Returns whether this call changed anything.
    ///
    /// # Errors
    /// `NotFound` for a strategy that there is not; `InvalidInput` for a venue that is not known, without a name or a
    /// reason, and for payouts of a strategy.
    pub async fn halt(&self, scope: &HaltScope, payouts: bool, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT halt($1, $2, $3, $4, $5)").bind(scope.kind()).bind(scope.name());
        Ok(query.bind(payouts).bind(by).bind(reason).fetch_one(self.pool()).await?)
    }

    /// Lifts the halt of exactly that scope. Returns whether there was one.
    ///
    /// # Errors
    /// As [`Books::halt`].
    pub async fn halt_lift(&self, scope: &HaltScope, by: &str, reason: &str) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar("SELECT halt_lift($1, $2, $3, $4)").bind(scope.kind()).bind(scope.name());
        Ok(query.bind(by).bind(reason).fetch_one(self.pool()).await?)
    }

    /// Every halt that is in force.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn halts(&self) -> Result<Vec<Halt>, BooksError> {
        let query = sqlx::query_as(
            "SELECT scope, payouts, halted_by AS by, reason, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' AS since
               FROM halts ORDER BY scope",
        );
        Ok(query.fetch_all(self.pool()).await?)
    }
}
