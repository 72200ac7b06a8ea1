use backstop_domain::{
    Amount, BusinessId, Refusal, RefusalKind,
    market_making::OpenOrder,
    strategy::{RunRequest, Word},
};
use serde_json::{Value, json};
use sqlx::FromRow;

use super::{Books, BooksError};

/// A strategy as its ticks need it.
#[derive(Debug, FromRow)]
pub struct StrategyRow {
    /// Whose money it trades with.
    pub owner: String,
    /// Where it trades.
    pub venue: String,
    /// What it trades.
    pub base: String,
    /// What that is paid in.
    pub quote: String,
    /// How it makes its market.
    pub parameters: Value,
    /// Whether it runs.
    pub running: bool,
    /// What of its user's base is free, beside what orders tie up; a decimal string.
    pub available_base: String,
    /// What of its user's quote is free; a decimal string.
    pub available_quote: String,
    /// How many decimals the quote has.
    pub quote_decimals: i16,
    /// How many of its intents are not over.
    pub in_flight: i64,
    /// What keeps its orders from being sent, in words: a halt, or a frozen account.
    pub held_up: Option<String>,
    /// Why its venue is not to be called for some seconds, in the venue's words.
    pub closed: Option<String>,
}

#[derive(FromRow)]
struct OpenRow {
    intent_id: String,
    side: String,
    price: String,
    remaining: String,
}

impl Books {
    /// Starts a strategy in the name of this start, or says what has become of that: `running` or `stopped`.
    ///
    /// # Errors
    /// `Conflict` or `Held` when the start is another's; `NotAllowed` while another start runs the strategy, or somebody
    /// takes its money out.
    pub async fn strategy_run(&self, request: &RunRequest, holder: &str) -> Result<String, BooksError> {
        let query = sqlx::query_scalar("SELECT strategy_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
        let query = query.bind(request.start_id.as_str()).bind(holder).bind(request.content()).bind(&request.input);
        let query = query.bind(request.strategy_key.as_str()).bind(request.user_id.as_str());
        let query =
            query.bind(request.venue.as_str()).bind(request.pair.base.as_str()).bind(request.pair.quote.as_str());
        let query = query.bind(json!(request.parameters)).bind(request.requested_by.as_str());
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// Takes down that a strategy is paused, or resumed, once for each id of a word. Returns whether this call did.
    ///
    /// # Errors
    /// `NotAllowed` when it does not run; `NotFound` when there is none.
    pub async fn strategy_pause(
        &self,
        key: &str,
        word_id: &str,
        paused: bool,
        Word { operator, reason }: &Word,
    ) -> Result<bool, BooksError> {
        let query =
            sqlx::query_scalar("SELECT strategy_pause($1, $2, $3, $4, $5)").bind(key).bind(word_id).bind(paused);
        Ok(query.bind(operator.as_str()).bind(reason.as_str()).fetch_one(self.pool()).await?)
    }

    /// Who has paused a strategy, and why; nothing when nobody has, or there is none.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn strategy_paused(&self, key: &str) -> Result<Option<Word>, BooksError> {
        let query = sqlx::query_as::<_, (String, String)>(
            "SELECT paused_by, paused_why FROM strategies WHERE strategy_key = $1 AND paused_by IS NOT NULL",
        );
        let word = query.bind(key).fetch_optional(self.pool()).await?;
        let id = |text: String| text.try_into().map_err(BooksError::Unreadable);
        word.map(|(operator, reason)| Ok(Word { operator: id(operator)?, reason: id(reason)? })).transpose()
    }

    /// Whether nothing is known of this start, at a venue that is.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn strategy_is_new(&self, request: &RunRequest) -> Result<bool, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT NOT EXISTS (SELECT FROM strategy_starts WHERE start_id = $1) AND EXISTS (SELECT FROM networks WHERE venue = $2)",
        );
        let query = query.bind(request.start_id.as_str()).bind(request.venue.as_str());
        Ok(query.fetch_one(self.pool()).await?)
    }

    /// A strategy.
    ///
    /// # Errors
    /// `NotFound` when there is none; or when the books can't be reached.
    pub async fn strategy(&self, key: &str) -> Result<StrategyRow, BooksError> {
        let query = sqlx::query_as(
            "SELECT s.owner, s.venue, s.base, s.quote, s.parameters, s.status = 'running' AS running,
                    trim_scale(coalesce(b.available, 0))::text AS available_base,
                    trim_scale(coalesce(q.available, 0))::text AS available_quote,
                    a.decimals AS quote_decimals,
                    (SELECT count(*) FROM intents AS i
                      WHERE i.strategy_key = s.strategy_key AND i.state IN ('waiting', 'claimed')) AS in_flight,
                    (SELECT string_agg(why, '; ' ORDER BY why)
                       FROM (SELECT format('%s is halted by %s: %s', h.scope, h.halted_by, h.reason) AS why
                               FROM halts AS h
                              WHERE h.scope IN ('all', 'venue/' || s.venue, 'strategy/' || s.strategy_key)
                             UNION ALL
                             SELECT format('the %s account of %s is frozen by %s', f.asset, f.owner, f.frozen_by)
                               FROM accounts AS f
                              WHERE f.id IN (b.id, q.id) AND f.frozen_by IS NOT NULL) AS reasons) AS held_up,
                    (SELECT v.closed_why FROM venues AS v
                      WHERE v.venue = s.venue AND v.closed_until > clock_timestamp() + interval '1 s') AS closed
               FROM strategies AS s
               JOIN assets AS a ON a.asset = s.quote
               LEFT JOIN accounts AS b ON b.owner = s.owner AND b.asset = s.base
               LEFT JOIN accounts AS q ON q.owner = s.owner AND q.asset = s.quote
              WHERE s.strategy_key = $1",
        );
        query.bind(key).fetch_optional(self.pool()).await?.ok_or_else(|| {
            BooksError::Refused(Box::new(Refusal {
                kind: RefusalKind::NotFound,
                message: format!("there is no strategy {key}"),
                detail: json!({"subject": key}),
            }))
        })
    }

    /// The symbols of a venue where orders may be open, or were so since `from_ms`, or where something was found that is
    /// still to be looked for.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn symbols_of(&self, venue: &str, from_ms: i64) -> Result<Vec<String>, BooksError> {
        let query = sqlx::query_scalar(
            "WITH since AS MATERIALIZED (SELECT 'epoch'::timestamptz + $2 * interval '1 ms' AS at)
             SELECT s.base || s.quote FROM strategies AS s, since
              WHERE s.venue = $1
                AND (s.status = 'running' OR s.changed_at > since.at
                     OR EXISTS (SELECT FROM orders AS o WHERE o.strategy_key = s.strategy_key
                                   AND o.state IN ('opened', 'attempted', 'placed')))
             UNION
             SELECT o.base || o.quote FROM orders AS o, since
              WHERE o.venue = $1 AND (o.signed_at > since.at OR o.state = 'ended' AND o.changed_at > since.at)
             UNION
             SELECT symbol FROM (SELECT coalesce(evidence ->> 'symbol', split_part(split_part(subject, '/', 3), ':', 1)) AS symbol
                                   FROM findings WHERE state = 'open' AND found_by = 'orders/' || $1) AS f
              WHERE symbol <> ''
             ORDER BY 1",
        );
        Ok(query.bind(venue).bind(from_ms).fetch_all(self.pool()).await?)
    }

    /// Which of these are no orders of the books.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn unknown_orders(&self, order_ids: &[&str]) -> Result<Vec<String>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT id FROM unnest($1::text[]) AS id WHERE NOT EXISTS (SELECT FROM orders WHERE order_id = id)",
        );
        Ok(query.bind(order_ids).fetch_all(self.pool()).await?)
    }

    /// Which of these are no intents of the books.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn unknown_intents(&self, intent_ids: &[String]) -> Result<Vec<String>, BooksError> {
        let query = sqlx::query_scalar(
            "SELECT id FROM unnest($1::text[]) AS id WHERE NOT EXISTS (SELECT FROM intents WHERE intent_id = id)",
        );
        Ok(query.bind(intent_ids).fetch_all(self.pool()).await?)
    }

    /// The orders of a strategy that intents have placed and that may still trade, oldest first.
    ///
    /// # Errors
    /// When the books can't be reached.
    pub async fn open_orders(&self, strategy_key: &str) -> Result<Vec<OpenOrder>, BooksError> {
        let query = sqlx::query_as(
            "SELECT i.intent_id, o.side, trim_scale(o.price)::text AS price,
                    trim_scale(greatest(o.quantity - coalesce((SELECT sum(f.base) FROM fills AS f
                                                                WHERE f.order_id = o.order_id), 0), 0))::text AS remaining
               FROM orders AS o
               JOIN intents AS i ON i.order_id = o.order_id AND i.kind = 'place_limit_order'
              WHERE o.strategy_key = $1 AND o.state = 'placed'
              ORDER BY o.changed_at, o.order_id",
        );
        let rows: Vec<OpenRow> = query.bind(strategy_key).fetch_all(self.pool()).await?;
        rows.iter().map(read_open).collect()
    }
}

fn read_open(row: &OpenRow) -> Result<OpenOrder, BooksError> {
    let unreadable = |what: &str| BooksError::Unreadable(format!("{what} of the order of intent {}", row.intent_id));
    let amount = |text: &str, what: &str| Amount::try_from(text.to_owned()).map_err(|_| unreadable(what));
    Ok(OpenOrder {
        id: BusinessId::try_from(row.intent_id.clone()).map_err(|_| unreadable("id"))?,
        side: backstop_domain::Side::from_name(&row.side).ok_or_else(|| unreadable("side"))?,
        price: amount(&row.price, "price")?,
        remaining: amount(&row.remaining, "remaining quantity")?,
    })
}
