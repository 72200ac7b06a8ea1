//! An intent's order at its venue: by which rules, sent once, found again, cancelled.

mod place;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backstop_domain::{Filters, IntentRequest, InvalidInput, Pair, Refusal, RefusalKind};
use place::{Progress, Trail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    beat::beating,
    books::{Books, OrderStanding, Priority},
    clock::Clock,
    failure::Failure,
    intents::HeldIntent,
    pacing::Lane,
    payouts::VenuePatience,
    trading::{Seen, TradingActivities, unreadable},
    venue::Spot,
};

/// The input of `venue_filters`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Market {
    /// Which market.
    pub pair: Pair,
}

/// What came of placing an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Placed {
    /// The venue has it.
    Accepted {
        /// The venue's id of it.
        venue_order_id: String,
    },
    /// The venue refused it; nothing happened.
    Rejected {
        /// The venue's reason.
        reason: String,
    },
    /// Nobody knows. It is looked up, never sent again.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { venue_order_id } => write!(f, "the venue has it as order {venue_order_id}"),
            Self::Rejected { reason } => write!(f, "rejected: {reason}"),
            Self::Unknown { reason } => write!(f, "outcome unknown: {reason}"),
        }
    }
}

/// Where an order was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "found")]
pub enum Found {
    /// The venue has it.
    Placed {
        /// The venue's id of it.
        venue_order_id: String,
    },
    /// The venue has none, and will have none.
    Absent {
        /// When the look began that tells so, by the books' clock, ms since 1970.
        looked_at_ms: i64,
        /// Why that is certain.
        reason: String,
    },
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placed { venue_order_id } => write!(f, "the venue has it as order {venue_order_id}"),
            Self::Absent { reason, .. } => f.write_str(reason),
        }
    }
}

/// How an order that was to be cancelled ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// In words.
    pub ended: String,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ended)
    }
}

/// The calls of one venue that intents make, on that venue's own task queue.
pub struct OrderActivities {
    books: Books,
    venue: Arc<dyn Spot>,
    lane: Arc<Lane>,
    patience: VenuePatience,
    trading: TradingActivities,
    rules: Mutex<HashMap<Pair, (Instant, Filters)>>,
}

/// How long a venue's rules are taken to stay as they are. It refuses itself what they do not allow.
const RULES_LAST: Duration = Duration::from_secs(300);
/// The longest pause before what was not sent is sent again, unless the venue names one.
const RESEND_MAX: Duration = Duration::from_secs(10);

#[activities]
impl OrderActivities {
    /// The venue's own rules for a pair.
    #[activity(name = "venue_filters")]
    pub async fn filters(self: Arc<Self>, ctx: ActivityContext, input: Market) -> Result<Filters, ActivityError> {
        beating(&ctx, self.patience.poll_max, self.rules_of(&input.pair)).await
    }

    /// Looks for the order at the venue, records its attempt and sends it. What was certainly not sent fails, and is tried
    /// again, a few times; so does what is not the venue's turn yet, as often as it takes. What may have been sent is an
    /// answer.
    #[activity(name = "venue_place")]
    pub async fn place(self: Arc<Self>, ctx: ActivityContext, intent: HeldIntent) -> Result<Placed, ActivityError> {
        // An execution that ends with a failure says so itself, unless it leaves a send behind.
        let said = ctx.heartbeat_details().deserialize::<Trail>().ok().flatten();
        let mut progress = Progress::after(said, ctx.info().attempt);
        let placed = beating(&ctx, RESEND_MAX, self.send(&intent, &mut progress)).await;
        if let (Err(_), Some(trail)) = (&placed, progress.to_tell()) {
            let _ = ctx.record_heartbeat(trail).await;
        }
        placed
    }

    /// Looks an order up by its client id until it is known whether the venue has it; "not yet" fails, and is tried again.
    #[activity(name = "venue_find_order")]
    pub async fn find(self: Arc<Self>, ctx: ActivityContext, intent: HeldIntent) -> Result<Found, ActivityError> {
        beating(&ctx, self.patience.poll_max, self.look_up(&intent.request)).await
    }

    /// Cancels an order, books its fills and ends it; "not yet" fails, and is tried again.
    #[activity(name = "venue_cancel_order")]
    pub async fn cancel(self: Arc<Self>, ctx: ActivityContext, intent: HeldIntent) -> Result<Cancelled, ActivityError> {
        beating(&ctx, self.patience.poll_max, self.end(&intent.request.order_id())).await
    }
}

impl OrderActivities {
    /// Calls `venue`, whose every order `books` records before it is sent, in turn with this process' other calls.
    pub fn new(books: Books, venue: Arc<dyn Spot>, lane: Arc<Lane>, patience: VenuePatience) -> Self {
        let trading = TradingActivities { books: books.clone(), venue: Arc::clone(&venue), patience };
        Self { books, venue, lane, patience, trading, rules: Mutex::default() }
    }

    pub(crate) async fn rules_of(&self, pair: &Pair) -> Result<Filters, Failure> {
        let known = self.rules.lock().unwrap_or_else(PoisonError::into_inner).get(pair).cloned();
        if let Some((_, filters)) = known.filter(|(read, _)| read.elapsed() < RULES_LAST) {
            return Ok(filters);
        }
        let unknown = || {
            Failure::Refused(InvalidInput::new("pair", format!("a market of the venue, which has no {pair}")).into())
        };
        let decimals = self.books.asset_decimals(pair.quote.as_str()).await?.ok_or_else(unknown)?;
        let filters = self.venue.filters(pair).await.map_err(unreadable)?.ok_or_else(unknown)?;
        let filters = Filters { quote_decimals: u32::from(decimals.unsigned_abs()), ..filters };
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.insert(pair.clone(), (Instant::now(), filters.clone()));
        Ok(filters)
    }

    /// The venue's id of an order, if the venue shows it.
    async fn seen(&self, standing: &OrderStanding, priority: Priority) -> Result<Option<String>, Failure> {
        let clock = Clock::from(standing.order.now_ms);
        let found = self.trading.find_order_in_turn(&standing.order, clock, priority).await?;
        Ok(found.map(|record| record.id))
    }

    async fn look_up(&self, request: &IntentRequest) -> Result<Found, Failure> {
        let order_id = request.order_id();
        let standing = self.standing(&order_id).await?;
        let OrderStanding { order, void_after_ms, detail, .. } = &standing;
        let looked_at_ms = order.now_ms;
        match (order.state.as_str(), &order.venue_order_id) {
            ("placed" | "ended", Some(id)) => return Ok(Found::Placed { venue_order_id: id.clone() }),
            ("void" | "abandoned", _) => {
                let reason = detail.clone().unwrap_or_default();
                return Ok(Found::Absent { looked_at_ms, reason });
            }
            _ => {}
        }
        if let Some(venue_order_id) = self.seen(&standing, Priority::Look).await? {
            return Ok(Found::Placed { venue_order_id });
        }
        let span = self.patience.receive_window + self.patience.visibility;
        let opened_until_ms = order.since_ms + i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 2);
        let void_after_ms = void_after_ms.unwrap_or(opened_until_ms);
        if looked_at_ms > void_after_ms {
            let reason = "not known to the venue past its time: it was not executed".into();
            return Ok(Found::Absent { looked_at_ms, reason });
        }
        let wait = void_after_ms - looked_at_ms;
        let message = format!("order {order_id} is not known to the venue; it may still show for {wait} ms");
        Err(Failure::Again { kind: "NotKnownYet", message, after: None })
    }

    async fn end(&self, order_id: &str) -> Result<Cancelled, Failure> {
        // The second look is at what the first one has cancelled.
        for _ in 0..2 {
            let Some(standing) = self.books.order(order_id).await? else {
                return Ok(Cancelled { ended: "there is nothing to cancel: the order was never opened".into() });
            };
            let OrderStanding { order, detail, .. } = standing;
            if matches!(order.state.as_str(), "void" | "abandoned" | "ended") {
                let why = detail.map_or_else(String::new, |why| format!(": {why}"));
                return Ok(Cancelled { ended: format!("order {order_id} is {}{why}", order.state) });
            }
            if self.trading.end_order(&order, Clock::from(order.now_ms)).await? == Seen::Open {
                break;
            }
        }
        let standing = self.standing(order_id).await?;
        let message = format!("order {order_id} is {} and not over yet", standing.order.state);
        Err(Failure::Again { kind: "NotEnded", message, after: None })
    }

    async fn standing(&self, order_id: &str) -> Result<OrderStanding, Failure> {
        self.books.order(order_id).await?.ok_or_else(|| {
            Failure::Refused(Refusal {
                kind: RefusalKind::NotFound,
                message: format!("there is no order {order_id}"),
                detail: json!({"subject": format!("order/{order_id}")}),
            })
        })
    }
}
