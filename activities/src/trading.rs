//! Calls of a venue's spot market, on that venue's own task queue.

use std::{fmt, sync::Arc};

use backstop_domain::{Amount, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    beat::beating,
    books::{Books, BooksError, OrderRow, Priority},
    clock::Clock,
    failure::Failure,
    intents::call_off,
    payouts::VenuePatience,
    venue::{LookupFailed, OrderRecord, OrderState, Spot},
};

/// The input of `venue_drain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drain {
    /// Which strategy's orders.
    pub strategy_key: String,
    /// Intents of the strategy that may not have begun yet: they never do.
    #[serde(default)]
    pub asked: Vec<Value>,
}

/// What a drain found to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrainReport {
    /// How many orders the last round ended.
    pub ended: u32,
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("every order has ended, and nothing is reserved")
    }
}

/// Calls of one venue's spot market.
pub struct TradingActivities {
    /// The books.
    pub books: Books,
    /// The venue.
    pub venue: Arc<dyn Spot>,
    /// Its timings.
    pub patience: VenuePatience,
}

#[activities]
impl TradingActivities {
    /// Cancels a strategy's orders, books every fill they made, and ends them, until the books say that nothing of the
    /// strategy is open. "Not yet" fails, says what is still open, and is tried again.
    #[activity(name = "venue_drain")]
    pub async fn drain(self: Arc<Self>, ctx: ActivityContext, input: Drain) -> Result<DrainReport, ActivityError> {
        beating(&ctx, self.patience.poll_max, self.drain_round(&input)).await
    }
}

/// What a look at an order came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Seen {
    /// It has ended, or never was.
    Over,
    /// It was asked to end just now: the next look may find it ended.
    Cancelled,
    /// It may still trade, or show.
    Open,
}

impl TradingActivities {
    async fn drain_round(&self, Drain { strategy_key, asked }: &Drain) -> Result<DrainReport, Failure> {
        // Else they would begin with the strategy's next start, in another market; it may have come already.
        call_off(&self.books, asked, "its strategy was stopped").await?;
        if !self.books.strategy_is_stopped(strategy_key).await? {
            // It was stopped, and nobody may start it meanwhile: the books were restored to a moment before.
            return Err(Failure::Refused(Refusal {
                kind: RefusalKind::NotAllowed,
                message: format!("strategy {strategy_key} is running"),
                detail: json!({"subject": strategy_key, "state": "running", "event": "drain"}),
            }));
        }
        let mut ended = 0;
        let mut unreadable = None;
        // The second look is at what the first one has cancelled.
        for _ in 0..2 {
            let mut cancelled = false;
            let orders = self.books.live_orders(strategy_key).await?;
            let Some(clock) = orders.first().map(|order| Clock::from(order.now_ms)) else { break };
            for order in &orders {
                match self.end_order(order, clock).await {
                    Ok(Seen::Over) => ended += 1,
                    Ok(seen) => cancelled |= seen == Seen::Cancelled,
                    // One order that can't be read must not keep the others from ending.
                    Err(failure) => unreadable = Some(failure),
                }
            }
            if !cancelled {
                break;
            }
        }
        let open = self.books.strategy_open_ends(strategy_key).await?;
        match unreadable {
            _ if open.is_empty() => Ok(DrainReport { ended }),
            Some(failure) => Err(failure.about(&open.join("; "))),
            None => Err(Failure::Again { kind: "NotDrained", message: open.join("; "), after: None }),
        }
    }

    /// Cancels an order, books its fills, and ends it if it is over. `clock` began when the order was read, or before.
    pub(crate) async fn end_order(&self, order: &OrderRow, clock: Clock) -> Result<Seen, Failure> {
        // One that the venue has is cancelled before anything is looked at: a cancel waits for no turn but its own.
        let at_the_venue = order.venue_order_id.is_some();
        if at_the_venue {
            self.cancel(order, clock).await;
        }
        let Some(record) = self.find_order(order, clock).await? else { return self.missing(order).await };
        let open = record.state == OrderState::Open;
        if open && !at_the_venue {
            self.cancel(order, clock).await;
        }
        let seen = self.take_down(order, &record, clock).await?;
        Ok(if open { Seen::Cancelled } else { seen })
    }

    /// Books the fills of an order that the venue has, and ends it if it is over. Leaves it open if it is not. In a quiet time
    /// this asks for nothing: what the venue `listed` as open, with nothing executed that is not booked, is as it was.
    pub(crate) async fn sync_order(
        &self,
        order: &OrderRow,
        listed: &[OrderRecord],
        clock: Clock,
    ) -> Result<Seen, Failure> {
        // The venue counts its orders by symbol; the client id of an open one is ours.
        let listed = listed
            .iter()
            .find(|record| order.venue_order_id.as_ref() == Some(&record.id) && record.client_id == order.order_id);
        match listed {
            Some(record) if record.state == OrderState::Open && is_booked(order, record) => Ok(Seen::Open),
            Some(record) => self.take_down(order, record, clock).await,
            // It has ended, or does not show.
            None => match self.find_order(order, clock).await? {
                Some(record) => self.take_down(order, &record, clock).await,
                None => self.missing(order).await,
            },
        }
    }

    /// Every open order of an order's market that the venue lists.
    pub(crate) async fn open_beside(&self, order: &OrderRow, clock: Clock) -> Result<Vec<OrderRecord>, Failure> {
        self.venue.open_orders(&symbol(order), clock.now_ms()).await.map_err(unreadable)
    }

    /// Asks for the order's end. What comes of it is for a look at the order to say.
    async fn cancel(&self, order: &OrderRow, clock: Clock) {
        let outcome = self.venue.cancel(&symbol(order), &order.order_id, clock.now_ms()).await;
        tracing::info!(order = order.order_id, ?outcome, "cancelled");
    }

    /// Books what was executed by the venue's record and is not booked, and ends the order if it is over. The record was
    /// read after the order.
    async fn take_down(&self, order: &OrderRow, record: &OrderRecord, clock: Clock) -> Result<Seen, Failure> {
        self.books.order_place(&order.order_id, &record.id).await?;
        if !is_booked(order, record) {
            let symbol = symbol(order);
            for trade in self.venue.trades(&symbol, &record.id, clock.now_ms()).await.map_err(unreadable)? {
                // The venue numbers its trades by symbol.
                let trade_id = format!("{symbol}:{}", trade.id);
                let legs = (trade.quantity.as_str(), trade.quote_quantity.as_str());
                self.books.fill_book(&order.order_id, &trade_id, legs, (&trade.fee, &trade.fee_asset)).await?;
            }
        }
        let OrderState::Ended(ending) = record.state else { return Ok(Seen::Open) };
        match self.books.order_end(&order.order_id, &record.executed_quantity, &format!("{ending:?}")).await {
            Ok(_) => Ok(Seen::Over),
            // Trades may show later than the order's end.
            Err(BooksError::Refused(refusal)) if refusal.kind == RefusalKind::NotAllowed => Ok(Seen::Open),
            Err(error) => Err(error.into()),
        }
    }

    /// The venue's record of an order: also of one that the books call opened, whose attempt they may have lost.
    pub(crate) async fn find_order(&self, order: &OrderRow, clock: Clock) -> Result<Option<OrderRecord>, Failure> {
        self.find_order_in_turn(order, clock, Priority::Look).await
    }

    /// The same in a slot of this priority. The record may be older than what the books have: an order id is one order's
    /// for ever, and books that were put back may have opened it anew since.
    pub(crate) async fn find_order_in_turn(
        &self,
        order: &OrderRow,
        clock: Clock,
        priority: Priority,
    ) -> Result<Option<OrderRecord>, Failure> {
        let symbol = symbol(order);
        // By the venue's own id wherever it is known: a cancel by somebody else may have taken our client id away.
        if let Some(id) = &order.venue_order_id {
            return self.venue.order_by_id(&symbol, id, clock.now_ms()).await.map_err(unreadable);
        }
        let found = self.venue.order_in_turn(&symbol, &order.order_id, clock.now_ms(), priority).await;
        found.map_err(unreadable)
    }

    /// What it means that the venue does not know an order: whether it is over by that. The lookup began after the order was
    /// read.
    async fn missing(&self, order: &OrderRow) -> Result<Seen, Failure> {
        let looked_at_ms = order.now_ms;
        let over = if order.state == "opened" {
            let VenuePatience { receive_window, visibility, .. } = self.patience;
            self.books.order_give_up(&order.order_id, looked_at_ms, receive_window, visibility).await?
        } else {
            let why = "not known to the venue past its time";
            self.books.order_void(&order.order_id, looked_at_ms, false, why).await?
        };
        Ok(if over { Seen::Over } else { Seen::Open })
    }
}

/// Whether the order's booked fills are all that the venue has executed of it.
fn is_booked(order: &OrderRow, record: &OrderRecord) -> bool {
    let amounts = (Amount::parse_part(&order.booked), Amount::parse_part(&record.executed_quantity));
    matches!(amounts, (Ok(booked), Ok(executed)) if booked == executed)
}

fn symbol(order: &OrderRow) -> String {
    format!("{}{}", order.base, order.quote)
}

pub(crate) fn unreadable(LookupFailed { reason, after }: LookupFailed) -> Failure {
    Failure::Again { kind: "LookupFailed", message: format!("the venue could not be read: {reason}"), after }
}
