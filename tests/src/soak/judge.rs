//! What must hold at the end of a soak, by queries of its own on the books and by the venues' own records.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row};

use super::{
    Options, Report, Stage,
    jobs::Wants,
    report::{Spread, VenueRow},
    starters::{Done, Said},
};
use crate::{
    books_checker,
    exchange::{DEPOSITS, ORDER},
    intents::order_of,
};

#[derive(Debug, FromRow)]
struct Intent {
    id: String,
    venue: Option<String>,
    state: String,
}

const INTENTS: &str = "SELECT intent_id AS id, venue, state FROM intents";

#[derive(Debug, FromRow)]
struct Order {
    id: String,
    venue: Option<String>,
    side: String,
    price: String,
    quantity: String,
    state: String,
    venue_order_id: Option<String>,
    executed: String,
    booked: String,
    is_reserved: bool,
}

const ORDERS: &str = "
    SELECT o.order_id AS id, o.venue, o.side, o.price::text, o.quantity::text, o.state, o.venue_order_id, o.executed::text,
           (SELECT coalesce(sum(f.base), 0) FROM fills AS f WHERE f.order_id = o.order_id)::text AS booked,
           coalesce(r.state = 'open', false) AS is_reserved
      FROM orders AS o LEFT JOIN reservations AS r USING (reservation_id)";

/// From claim to end, by the intents' rows and by the events. What ends at a moment makes room for what begins then.
const CLAIMS: [(&str, &str); 2] = [
    (
        "rows",
        "SELECT intent_id AS id, kind, venue, strategy_key, claimed_at AS began, coalesce(ended_at, 'infinity') AS ended
           FROM intents WHERE claimed_at IS NOT NULL",
    ),
    (
        "events",
        "SELECT c.aggregate AS id, c.payload ->> 'kind' AS kind, c.payload ->> 'venue' AS venue, c.payload ->> 'strategy_key' AS strategy_key,
                c.at AS began, coalesce(min(e.at), 'infinity') AS ended
           FROM outbox AS c
           LEFT JOIN outbox AS e ON e.aggregate = c.aggregate
                AND e.kind IN ('intent.done', 'intent.failed', 'intent.cancelled')
          WHERE c.kind = 'intent.claimed' GROUP BY c.id",
    ),
];

/// The most claims at once: of those to trade all and of each venue, and of any strategy.
fn sweep(claims: &str) -> String {
    format!(
        "WITH claims AS MATERIALIZED ({claims}),
              scopes AS (SELECT 'global' AS scope, '' AS key, began, ended FROM claims
                           WHERE kind = 'place_limit_order'
                          UNION ALL SELECT 'venue', venue, began, ended FROM claims WHERE kind = 'place_limit_order'
                          UNION ALL SELECT 'strategy', strategy_key, began, ended FROM claims),
              moves AS (SELECT scope, key, began AS at, 1 AS step FROM scopes
                         UNION ALL SELECT scope, key, ended, -1 FROM scopes),
              counts AS (SELECT scope, key, sum(step) OVER (PARTITION BY scope, key ORDER BY at, step
                                                           ROWS UNBOUNDED PRECEDING) AS n FROM moves)
         SELECT scope, CASE scope WHEN 'venue' THEN key ELSE '' END AS key, max(n) AS most
           FROM counts GROUP BY 1, 2"
    )
}

/// Each finds rows that must not be, and says what is wrong with them.
const DEVIATIONS: &[&str] = &[
    "SELECT format('reservation %s is open, its order is %s', r.reservation_id, o.state)
       FROM reservations AS r LEFT JOIN orders AS o USING (reservation_id)
      WHERE r.state = 'open' AND o.state IS DISTINCT FROM 'placed'",
    "SELECT format('%s was claimed %s times, and ended %s times, by the events', aggregate, claims, ends)
       FROM (SELECT aggregate, count(*) FILTER (WHERE kind = 'intent.claimed') AS claims,
                    count(*) FILTER (WHERE kind IN ('intent.done', 'intent.failed', 'intent.cancelled')) AS ends
               FROM outbox WHERE aggregate LIKE 'intent/%' GROUP BY aggregate) AS counts
      WHERE claims > 1 OR ends <> 1",
    "SELECT format('%s %s came in, %s are there, the venues gave %s', a.asset, d.amount, a.amount, f.amount)
       FROM (SELECT asset, sum(available + locked) AS amount FROM accounts GROUP BY asset) AS a
       LEFT JOIN (SELECT content ->> 'asset_id' AS asset, sum(amount) AS amount FROM deposits GROUP BY 1) AS d USING (asset)
       LEFT JOIN (SELECT x.asset, -sum(e.d_counter) AS amount FROM entries AS e JOIN accounts AS x ON x.id = e.account
                   WHERE e.key LIKE 'fill/%' GROUP BY 1) AS f USING (asset)
      WHERE a.amount <> coalesce(d.amount, 0) + coalesce(f.amount, 0)",
    "SELECT format('a critical finding is open: %s of %s: %s', kind, subject, evidence)
       FROM findings WHERE state = 'open' AND severity = 'critical'",
];

/// How long something took, in ms: its median, and what one in twenty took longer than.
const SPREADS: [(&str, &str); 2] = [
    (
        "waiting at the gates",
        "SELECT extract(epoch FROM i.claimed_at - o.at) AS took FROM intents AS i
           JOIN outbox AS o ON o.aggregate = 'intent/' || i.intent_id AND o.kind = 'intent.waiting'
          WHERE i.claimed_at IS NOT NULL",
    ),
    (
        "from claim to end",
        "SELECT extract(epoch FROM ended_at - claimed_at) AS took FROM intents WHERE claimed_at IS NOT NULL",
    ),
];

/// Both sides, as they are at the end.
struct Sides {
    intents: HashMap<String, Intent>,
    orders: HashMap<String, Order>,
    /// What each venue has, by client id.
    at_venues: BTreeMap<&'static str, HashMap<String, Vec<Value>>>,
}

impl Sides {
    async fn read(stage: &Stage, books: &mut PgConnection) -> Self {
        let intents: Vec<Intent> = sqlx::query_as(INTENTS).fetch_all(&mut *books).await.unwrap();
        let orders: Vec<Order> = sqlx::query_as(ORDERS).fetch_all(&mut *books).await.unwrap();
        let mut at_venues = BTreeMap::new();
        for venue in &stage.venues {
            let mut by_client: HashMap<String, Vec<Value>> = HashMap::new();
            for order in venue.exchange.all_orders().await {
                by_client.entry(text(&order, "client_id").to_owned()).or_default().push(order);
            }
            at_venues.insert(venue.name, by_client);
        }
        Self {
            intents: intents.into_iter().map(|intent| (intent.id.clone(), intent)).collect(),
            orders: orders.into_iter().map(|order| (order.id.clone(), order)).collect(),
            at_venues,
        }
    }

    /// The orders under a client id that a venue has, wherever.
    fn at_any(&self, client_id: &str) -> Vec<&Value> {
        self.at_venues.values().filter_map(|orders| orders.get(client_id)).flatten().collect()
    }

    /// Whether an intent came to what it had to, and its workflows said so.
    fn of_intent(&self, done: &Done) -> Vec<String> {
        let id = text(&done.intent, "intent_id");
        let Some(intent) = self.intents.get(id) else { return vec![format!("intent {id} is lost: {:?}", done.said)] };
        let mut wrong = Vec::new();
        if !["done", "failed", "cancelled"].contains(&intent.state.as_str()) {
            wrong.push(format!("intent {id} is not over: {}", intent.state));
        }
        if intent.venue.as_deref() != done.intent["venue"].as_str() {
            wrong.push(format!("intent {id} is of venue {:?}", intent.venue));
        }
        for said in &done.said {
            match said {
                Said::State(state) if *state == intent.state => {}
                Said::Held if done.said.len() > 1 => {}
                Said::Wrong(what) => wrong.push(what.clone()),
                other => wrong.push(format!("intent {id} is {}, its workflow said {other:?}", intent.state)),
            }
        }
        if done.said.iter().all(|said| *said == Said::Held) {
            wrong.push(format!("intent {id} was refused to everybody"));
        }
        if done.intent["kind"] == "place_limit_order" {
            wrong.extend(self.of_placing(done, &intent.state));
        }
        wrong
    }

    fn of_placing(&self, done: &Done, state: &str) -> Vec<String> {
        let client_id = order_of(&done.intent);
        let there = self.at_any(&client_id);
        let hopeless = matches!(done.job.wants, Wants::Refused | Wants::TooMuch);
        match (state, there.as_slice()) {
            ("done", [order]) if !hopeless => {
                let asked = |name: &str| done.intent[name].as_str().unwrap_or_default();
                let same = text(order, "side").eq_ignore_ascii_case(asked("side"))
                    && number(text(order, "price")) == number(asked("price"))
                    && number(text(order, "qty")) == number(asked("qty"));
                if same { Vec::new() } else { vec![format!("{} became another order: {order}", done.intent)] }
            }
            ("failed" | "cancelled", []) => Vec::new(),
            _ => vec![format!("{} is {state}, the venues have {there:?}", done.intent)],
        }
    }

    /// Every order of the books is at its venue as they say, and every order of a venue in the books.
    fn of_orders(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for order in self.orders.values() {
            let venue = order.venue.as_deref().unwrap_or_default();
            let there = self.at_venues.get(venue).and_then(|orders| orders.get(&order.id));
            let agrees = match order.state.as_str() {
                "void" | "abandoned" => !order.is_reserved && self.at_any(&order.id).is_empty(),
                "placed" | "ended" => there.is_some_and(|there| there.len() == 1 && order.agrees_with(&there[0])),
                _ => false,
            };
            if !agrees {
                wrong.push(format!("{order:?}, at the venue {there:?}"));
            }
        }
        for (venue, orders) in &self.at_venues {
            for (client_id, orders) in orders {
                if orders.len() > 1 {
                    wrong.push(format!("{venue} has order {client_id} {} times: {orders:?}", orders.len()));
                }
                if self.orders.get(client_id).is_none_or(|known| known.venue.as_deref() != Some(venue)) {
                    wrong.push(format!("{venue} has an order that the books don't have: {orders:?}"));
                }
            }
        }
        wrong
    }
}

impl Order {
    /// An order that is over has every fill booked; one that is not has its money set aside.
    fn agrees_with(&self, there: &Value) -> bool {
        let is_open = matches!(text(there, "state"), "NEW" | "PARTIALLY_FILLED");
        let traded = number(text(there, "executed_qty"));
        let is_booked = number(&self.booked) == traded && number(&self.executed) == traded;
        self.venue_order_id.as_deref() == there["id"].as_str()
            && self.side.eq_ignore_ascii_case(text(there, "side"))
            && number(&self.price) == number(text(there, "price"))
            && number(&self.quantity) == number(text(there, "qty"))
            && is_open == (self.state == "placed")
            && self.is_reserved == is_open
            && (is_open || is_booked)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap_or_default()
}

/// The most claims at once: of all, of each venue by its name, of a strategy.
#[derive(Debug, Default)]
struct Most {
    global: i64,
    venues: BTreeMap<String, i64>,
    strategy: i64,
}

async fn most(books: &mut PgConnection, claims: &str) -> Most {
    let mut most = Most::default();
    let rows = sqlx::query(AssertSqlSafe(sweep(claims))).fetch_all(books).await.unwrap();
    for row in rows {
        let n: i64 = row.get("most");
        match row.get::<&str, _>("scope") {
            "global" => most.global = n,
            "strategy" => most.strategy = n,
            _ => drop(most.venues.insert(row.get("key"), n)),
        }
    }
    most
}

impl Most {
    /// What went beyond a gate; and which gate was never full, so that nothing was tried there.
    fn beyond(&self, by: &str, options: &Options) -> Vec<String> {
        let venues = self.venues.iter().map(|(name, most)| (format!("venue {name}"), *most, options.venue_gate));
        let all = venues.chain([("all venues".to_owned(), self.global, options.global_gate)]);
        let mut wrong: Vec<String> = all
            .filter(|(_, most, gate)| usize::try_from(*most).ok() != Some(*gate))
            .map(|(scope, most, gate)| {
                format!("{scope}: {most} claims at once by the {by}, the gate lets {gate} through")
            })
            .collect();
        if self.strategy != 1 {
            wrong.push(format!("a strategy had {} claims at once by the {by}", self.strategy));
        }
        wrong
    }
}

/// What the venues' own records of their requests and money say.
async fn of_venues(stage: &Stage, options: &Options, most: &Most) -> (Vec<VenueRow>, Vec<String>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for venue in &stage.venues {
        let (placements, at_once) = venue.exchange.traffic("POST", ORDER).await;
        if usize::try_from(at_once).unwrap() > options.venue_gate {
            wrong.push(format!("{}: {at_once} orders were placed at once, by its own record", venue.name));
        }
        if venue.exchange.traffic("GET", DEPOSITS).await.0 == 0 {
            wrong.push(format!("{} is not watched: nobody has asked it for deposits", venue.name));
        }
        let (has, moved) = (venue.exchange.balances().await, venue.exchange.moved().await);
        for (coin, initial) in &venue.initial {
            let moved = moved.get(coin).copied().unwrap_or_default();
            if has[coin] != initial + moved {
                wrong.push(format!("{}: had {initial} {coin}, moved {moved}, has {}", venue.name, has[coin]));
            }
        }
        let claims = most.venues.get(venue.name).copied().unwrap_or_default();
        let orders = venue.exchange.all_orders().await.len();
        rows.push(VenueRow { name: venue.name, gate: options.venue_gate, claims, at_once, placements, orders });
    }
    (rows, wrong)
}

async fn spreads(books: &mut PgConnection, done: &[Done]) -> Vec<Spread> {
    let mut spreads = Vec::new();
    for (what, sql) in SPREADS {
        let sql = format!(
            "SELECT coalesce(1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY took), 0)::float8,
                    coalesce(1000 * percentile_cont(0.95) WITHIN GROUP (ORDER BY took), 0)::float8 FROM ({sql}) AS times"
        );
        let (median_ms, late_ms) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut *books).await.unwrap();
        spreads.push(Spread { what, median_ms, late_ms });
    }
    let mut took: Vec<Duration> = done.iter().map(|done| done.took).collect();
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).map_or(0.0, |took| took.as_secs_f64() * 1_000.0);
    spreads.push(Spread { what: "from start to result", median_ms: at(50), late_ms: at(95) });
    spreads
}

/// Reads both sides, and says what is wrong with them.
pub(super) async fn judge(stage: &Stage, options: &Options, done: &[Done], took: Duration, kills: usize) -> Report {
    let mut books = stage.database.owner().await;
    let sides = Sides::read(stage, &mut books).await;
    let mut wrong: Vec<String> = done.iter().flat_map(|done| sides.of_intent(done)).collect();
    let asked: HashSet<&str> = done.iter().map(|done| text(&done.intent, "intent_id")).collect();
    if asked.len() != options.intents || sides.intents.len() != options.intents {
        let (asked, known) = (asked.len(), sides.intents.len());
        wrong.push(format!("{} intents were to be, {asked} were asked for, the books have {known}", options.intents));
    }
    wrong.extend(sides.of_orders());
    let mut by_rows = Most::default();
    for (by, claims) in CLAIMS {
        let most = most(&mut books, claims).await;
        wrong.extend(most.beyond(by, options));
        if by == "rows" {
            by_rows = most;
        }
    }
    for query in DEVIATIONS {
        let found = sqlx::query_scalar::<_, String>(*query).fetch_all(&mut books).await.unwrap();
        wrong.extend(found);
    }
    wrong.extend(
        books_checker::check(&mut books).await.into_iter().map(|what| format!("the books are unsound: {what}")),
    );
    let (venues, at_venues) = of_venues(stage, options, &by_rows).await;
    wrong.extend(at_venues);
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for intent in sides.intents.values() {
        *states.entry(intent.state.clone()).or_default() += 1;
    }
    Report {
        options: options.clone(),
        took,
        kills,
        states,
        workflows: done.iter().map(|done| done.said.len()).sum(),
        venues,
        global: by_rows.global,
        strategy: by_rows.strategy,
        spreads: spreads(&mut books, done).await,
        wrong,
    }
}

impl Stage {
    /// Judges again what was run before: the same verdicts on the sides as they are now, without the workflows' words.
    pub async fn orders_that_disagree(&self) -> Vec<String> {
        Sides::read(self, &mut self.database.owner().await).await.of_orders()
    }
}
