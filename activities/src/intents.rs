//! The ledger activities of intents, and the wait at the gates.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backstop_domain::{Claim, IntentReceipt, IntentRequest, RefusalKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgListener;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::sync::watch;

use crate::{
    beat::beating,
    books::{Books, BooksError, GATES_CHANNEL, PlacedOrder},
    failure::Failure,
};

/// An intent in the hands of a workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldIntent {
    /// The intent.
    pub request: IntentRequest,
    /// The workflow that carries it.
    pub holder: String,
}

/// What made an undo necessary. A saga fills it in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Because {
    /// `Cancelled`, `Expired`, `Failed`, or the kind of the refusal.
    pub kind: String,
    /// The same for people.
    pub message: String,
}

impl Because {
    /// Whether nobody wants it any more, rather than that it can't be done: somebody cancelled it, or the strategy does
    /// not trade, or is halted.
    fn unwanted(&self) -> bool {
        let refusal = RefusalKind::from_name(&self.kind);
        self.kind == "Cancelled" || matches!(refusal, Some(RefusalKind::NotAllowed | RefusalKind::Halted))
    }
}

/// The input of `intent_abandon` and of `order_abandon`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AbandonIntent {
    /// What to undo.
    pub intent: HeldIntent,
    /// Why.
    pub because: Because,
}

/// The input of `intent_finish`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FinishIntent {
    /// Which intent.
    pub intent: HeldIntent,
    /// The venue's id of the order that was placed.
    pub venue_order_id: Option<String>,
    /// What there is to say of it.
    pub reason: Option<String>,
}

/// The input of `intent_void`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VoidIntent {
    /// Which intent.
    pub intent: HeldIntent,
    /// When the lookup began that did not find the order, by the books' clock.
    pub looked_at_ms: i64,
    /// Whether the venue has refused the order.
    pub rejected: bool,
    /// Why, for the record.
    pub reason: String,
}

/// Transitions of the books. All idempotent. Whoever ends an intent wakes those who wait at the gates, after the commit.
#[derive(Debug)]
pub struct IntentActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl IntentActivities {
    /// How an intent stands, or whether it could be opened.
    #[activity(name = "intent_check")]
    pub async fn check(
        self: Arc<Self>,
        _ctx: ActivityContext,
        intent: HeldIntent,
    ) -> Result<IntentReceipt, ActivityError> {
        Ok(self.books.intent_check(&intent.request, &intent.holder).await.map_err(Failure::from)?)
    }

    /// Takes a ticket.
    #[activity(name = "intent_open")]
    pub async fn open(
        self: Arc<Self>,
        _ctx: ActivityContext,
        intent: HeldIntent,
    ) -> Result<IntentReceipt, ActivityError> {
        self.ended(self.books.intent_open(&intent.request, &intent.holder).await).await
    }

    /// Undoes `intent_open`, whether it ran or not, and whatever became of it until an order may be at the venue.
    #[activity(name = "intent_abandon")]
    pub async fn abandon(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: AbandonIntent,
    ) -> Result<IntentReceipt, ActivityError> {
        let AbandonIntent { intent: HeldIntent { request, holder }, because } = &input;
        self.ended(self.books.intent_abandon(request, holder, because.unwanted(), &because.message).await).await
    }

    /// user available → locked, for the order.
    #[activity(name = "intent_reserve")]
    pub async fn reserve(
        self: Arc<Self>,
        _ctx: ActivityContext,
        intent: HeldIntent,
    ) -> Result<IntentReceipt, ActivityError> {
        let reserved = self.books.intent_reserve(intent.request.intent_id.as_str(), &intent.holder).await;
        Ok(reserved.map_err(Failure::from)?)
    }

    /// Undoes `intent_reserve`, whether it ran or not.
    #[activity(name = "order_abandon")]
    pub async fn release(self: Arc<Self>, _ctx: ActivityContext, input: AbandonIntent) -> Result<bool, ActivityError> {
        let HeldIntent { request, holder } = &input.intent;
        let Some(order) = request.order() else { return Ok(false) };
        let (order_id, price, quantity) = (request.order_id(), order.price.to_string(), order.quantity.to_string());
        let order = PlacedOrder {
            order_id: &order_id,
            holder,
            strategy_key: request.strategy_key.as_str(),
            side: order.side.name(),
            price: &price,
            quantity: &quantity,
        };
        Ok(self.books.order_abandon(&order, &input.because.message).await.map_err(Failure::from)?)
    }

    /// Records the order, and that the intent is processed. An order that the venue has and the books have forgotten is a
    /// finding: should it trade to its end before anybody looks, nothing else would show it.
    #[activity(name = "intent_finish")]
    pub async fn finish(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: FinishIntent,
    ) -> Result<IntentReceipt, ActivityError> {
        let FinishIntent { intent: HeldIntent { request, holder }, venue_order_id, reason } = &input;
        let id = request.intent_id.as_str();
        let finished = self.books.intent_finish(id, holder, venue_order_id.as_deref(), reason.as_deref()).await;
        if let (Some(venue_order_id), Err(BooksError::Refused(refusal))) = (venue_order_id, &finished)
            && refusal.kind == RefusalKind::NotFound
        {
            let order_id = request.order_id();
            let evidence = json!({"venue": request.venue, "client_id": order_id, "venue_order_id": venue_order_id,
                "intent_id": id, "holder": holder});
            let subject = format!("order/{order_id}");
            self.books.find("order_without_record", &subject, "critical", &evidence).await.map_err(Failure::from)?;
        }
        self.ended(finished).await
    }

    /// Records that the order is void and gives back what was set aside for it.
    #[activity(name = "intent_void")]
    pub async fn void(
        self: Arc<Self>,
        _ctx: ActivityContext,
        input: VoidIntent,
    ) -> Result<IntentReceipt, ActivityError> {
        let VoidIntent { intent: HeldIntent { request, holder }, looked_at_ms, rejected, reason } = &input;
        let id = request.intent_id.as_str();
        self.ended(self.books.intent_void(id, holder, *looked_at_ms, *rejected, reason).await).await
    }
}

impl IntentActivities {
    /// What is not heard by those who wait, as when this worker dies now, they find out by themselves a little later.
    async fn ended(&self, receipt: Result<IntentReceipt, BooksError>) -> Result<IntentReceipt, ActivityError> {
        let receipt = receipt.map_err(Failure::from)?;
        if receipt.state.is_final() {
            wake(&self.books, &receipt.venue).await;
        }
        Ok(receipt)
    }
}

async fn wake(books: &Books, venue: &str) {
    if let Err(error) = books.wake_gates(venue).await {
        tracing::warn!(%error, "those who wait at the gates are not woken");
    }
}

/// How long one wait lasts. Then it is another's turn: however many wait, none keeps the one who could pass from asking.
const STAY: Duration = Duration::from_secs(8);
/// A call that nobody heard is made up for by a look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause between two waits of one intent.
const STEP_ASIDE: Duration = Duration::from_millis(20);
/// The pause before it is listened again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The wait at the gates, on a queue of its own.
#[derive(Debug)]
pub struct GateActivities {
    books: Books,
    called: watch::Sender<()>,
}

#[activities]
impl GateActivities {
    /// Waits until the intent has passed the gates, or is over.
    #[activity(name = "gate_wait")]
    pub async fn wait(self: Arc<Self>, ctx: ActivityContext, intent: HeldIntent) -> Result<Claim, ActivityError> {
        beating(&ctx, LOOK_EVERY, self.pass(&intent)).await
    }
}

impl GateActivities {
    /// Starts to listen, with one connection for the whole process.
    pub fn new(books: Books) -> Self {
        let called = watch::Sender::new(());
        tokio::spawn(listen(books.clone(), called.clone()));
        Self { books, called }
    }

    async fn pass(&self, intent: &HeldIntent) -> Result<Claim, Failure> {
        let until = Instant::now() + STAY;
        loop {
            // Before asking: who ends in between is heard.
            let mut called = self.called.subscribe();
            let claim = self.books.intent_claim(intent.request.intent_id.as_str(), &intent.holder).await?;
            if claim.state.is_final() {
                wake(&self.books, intent.request.venue.as_str()).await;
            }
            if claim.claimed || claim.state.is_final() {
                return Ok(claim);
            }
            if Instant::now() >= until {
                return Err(Failure::Again { kind: "Waiting", message: claim.to_string(), after: Some(STEP_ASIDE) });
            }
            let _ = tokio::time::timeout(LOOK_EVERY, called.changed()).await;
        }
    }
}

async fn listen(books: Books, called: watch::Sender<()>) {
    loop {
        if let Err(error) = hear(&books, &called).await {
            tracing::warn!(%error, "not listening at the gates");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn hear(books: &Books, called: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(books.pool()).await?;
    listener.listen(GATES_CHANNEL).await?;
    loop {
        listener.recv().await?;
        called.send_replace(());
    }
}

/// Ends in the books whichever of these intents has not begun. One whose workflow was ended by force, or refused early, can then
/// not begin later, beside what takes its place.
pub(crate) async fn call_off(books: &Books, intents: &[Value], why: &str) -> Result<(), Failure> {
    for intent in intents.iter().filter_map(|intent| IntentRequest::read(intent.clone()).ok()) {
        if books.unknown_intents(&[intent.intent_id.to_string()]).await?.is_empty() {
            continue;
        }
        let holder = format!("intent/{}", intent.intent_id);
        match books.intent_abandon(&intent, &holder, true, why).await {
            // One that has begun at this moment is followed like any other, or has let the next one pass.
            Ok(_) | Err(BooksError::Refused(_)) => books.wake_gates(intent.venue.as_str()).await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
