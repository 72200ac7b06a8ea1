//! How an intent's order is placed: the venue is asked for it, its attempt is recorded, and it is sent, once.

use backstop_domain::{InvalidInput, LimitOrder, Refusal, RefusalKind, Side as OrderSide, TimeInForce as Stay};
use serde::{Deserialize, Serialize};

use super::{OrderActivities, Placed};
use crate::{
    books::{BooksError, OrderStanding, Priority},
    failpoint,
    failure::Failure,
    intents::HeldIntent,
    pacing::NoTurn,
    payouts::VenuePatience,
    venue::{NewOrder, OrderKind, SendOutcome, Side, TimeInForce},
};

/// How often an order is sent that the venue turns away at its door, or that finds no connection: a venue that does so
/// eight times, though each `Retry-After` was kept, is not just busy. Only what was sent counts. Waiting does not, be it for
/// a slot or for the end of a `Retry-After` that another call was given; the intent's own time bounds it.
const SENDS_MAX: u32 = 8;

/// What one execution of `venue_place` tells the next, by the heartbeat that it ends with.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Trail {
    /// Which execution says this. When the last one says nothing, as when its worker died, it may have got anywhere.
    execution: u32,
    /// The venue was asked and did not have the order, and nothing was left behind since.
    looked: bool,
    /// How many sends did not reach it.
    sends: u32,
}

/// How far the sending of an order has got.
#[derive(Debug)]
pub(super) struct Progress {
    trail: Trail,
    /// Whether it is certain that no execution has left a send behind that nobody knows of.
    clear: bool,
}

impl Progress {
    /// Goes on where the execution before has said that it ended, if it has.
    pub(super) fn after(said: Option<Trail>, execution: u32) -> Self {
        let said = said.unwrap_or_default();
        let clear = said.execution + 1 == execution;
        Self { trail: Trail { execution, looked: clear && said.looked, sends: said.sends }, clear }
    }

    /// What to tell the next execution; nothing, where a send may have been left behind.
    pub(super) fn to_tell(&self) -> Option<Trail> {
        self.clear.then_some(self.trail)
    }
}

impl OrderActivities {
    /// Records the order's attempt and sends it, once it is certain that it was not sent before.
    pub(super) async fn send(&self, intent: &HeldIntent, progress: &mut Progress) -> Result<Placed, Failure> {
        let HeldIntent { request, holder } = intent;
        let order_id = request.order_id();
        let Some(order) = request.order() else {
            return Err(Failure::Refused(InvalidInput::new("kind", "an intent that places an order").into()));
        };
        if let Some(venue_order_id) = self.sent_before_the_books_remember(&order_id, progress).await? {
            return Ok(Placed::Accepted { venue_order_id });
        }
        let signed_at_ms = match self.permit(&order_id, holder).await {
            Ok(signed_at_ms) => signed_at_ms,
            Err(NoTurn::Asking(BooksError::Refused(refusal))) => return answer_to(*refusal),
            Err(error) => return Err(error.into()),
        };
        failpoint::pass("venue_place.recorded").await;
        let (symbol, price, quantity) = (request.pair.symbol(), order.price.to_string(), order.quantity.to_string());
        let new = NewOrder {
            client_id: &order_id,
            symbol: &symbol,
            side: side(order.side),
            kind: kind(order, &price),
            quantity: &quantity,
        };
        progress.clear = false;
        let outcome = self.venue.place(new, signed_at_ms).await;
        failpoint::pass("venue_place.sent").await;
        tracing::info!(intent = %request.intent_id, order = order_id, ?outcome, "sent");
        let (reason, after) = match outcome {
            SendOutcome::Done(venue_order_id) => return Ok(Placed::Accepted { venue_order_id }),
            SendOutcome::Rejected(reason) => return Ok(Placed::Rejected { reason }),
            SendOutcome::Unknown(reason) => return Ok(Placed::Unknown { reason }),
            SendOutcome::NotSent { reason, after } => (reason, after),
        };
        progress.clear = true;
        progress.trail.sends += 1;
        // Should this not be recorded, the order is taken for one that may have been sent: it is looked up.
        self.books.order_not_sent(&order_id, holder, signed_at_ms, &reason).await?;
        let message = format!("not sent: {reason}");
        if progress.trail.sends >= SENDS_MAX {
            return Err(Failure::Final { kind: "NotSent", message });
        }
        Err(Failure::Again { kind: "NotSent", message, after })
    }

    /// Leave to send now: the attempt is recorded with the slot that it waits for. One that overslept its slot was not
    /// sent, and says so.
    async fn permit(&self, order_id: &str, holder: &str) -> Result<i64, NoTurn<BooksError>> {
        let VenuePatience { receive_window, visibility, .. } = self.patience;
        let ask = || self.books.order_attempt(order_id, holder, receive_window, visibility);
        let forfeit = |signed_at_ms| async move {
            self.books.order_not_sent(order_id, holder, signed_at_ms, "it overslept its slot").await.map(drop)
        };
        self.lane.turn(Priority::Send, ask, forfeit).await
    }

    /// Books that were restored from a backup may have forgotten the send: an earlier execution's, or, long ago, that of an
    /// intent which is started afresh. So the venue is asked before the first attempt, whatever the books say; its age does
    /// not matter, because an intent's order id is its own for ever. Gives the venue's id of the order, if it has it.
    async fn sent_before_the_books_remember(
        &self,
        order_id: &str,
        progress: &mut Progress,
    ) -> Result<Option<String>, Failure> {
        if progress.trail.looked {
            return Ok(None);
        }
        // One that is not opened is not attempted, and one that was attempted is looked up afterwards.
        let Some(mut standing) = self.opened(order_id).await? else { return Ok(None) };
        if !progress.clear {
            // The earlier execution may have sent a moment ago, or be about to: wait until that could no longer be
            // executed, and would be seen.
            tokio::time::sleep(self.patience.receive_window + self.patience.visibility).await;
            let Some(still) = self.opened(order_id).await? else { return Ok(None) };
            standing = still;
        }
        let found = self.seen(&standing, Priority::Send).await?;
        progress.trail.looked = found.is_none();
        progress.clear |= found.is_none();
        Ok(found)
    }

    async fn opened(&self, order_id: &str) -> Result<Option<OrderStanding>, Failure> {
        Ok(self.books.order(order_id).await?.filter(|standing| standing.order.state == "opened"))
    }
}

/// What a refused attempt means: an earlier one speaks, and is looked up; or nothing may be sent.
fn answer_to(refusal: Refusal) -> Result<Placed, Failure> {
    let over = refusal.kind == RefusalKind::NotAllowed && refusal.detail["event"] == "attempt";
    if over || refusal.kind == RefusalKind::InDoubt {
        return Ok(Placed::Unknown { reason: refusal.message });
    }
    Err(Failure::Refused(refusal))
}

fn side(side: OrderSide) -> Side {
    match side {
        OrderSide::Buy => Side::Buy,
        OrderSide::Sell => Side::Sell,
    }
}

fn kind<'a>(order: &LimitOrder, price: &'a str) -> OrderKind<'a> {
    if order.post_only {
        return OrderKind::LimitMaker { price };
    }
    let time_in_force = match order.time_in_force {
        Stay::GoodTillCancelled => TimeInForce::GoodTillCancelled,
        Stay::ImmediateOrCancel => TimeInForce::ImmediateOrCancel,
        Stay::FillOrKill => TimeInForce::FillOrKill,
    };
    OrderKind::Limit { price, time_in_force }
}
