//! What the ticks of a strategy do.

use std::{str::FromStr, sync::Arc};

use backstop_domain::{
    Filters, IntentAction, IntentRequest, LimitOrder, Pair, TimeInForce,
    market_making::{Parameters, View, Wish, quote},
    strategy::{Look, RunRequest, Word},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{
    beat::{beating, in_time},
    books::{Books, StrategyRow},
    clock::Clock,
    failure::Failure,
    intents::call_off,
    observations::Observe,
    orders::{Market, OrderActivities},
    pacing::Lane,
    payouts::VenuePatience,
    trading::{Seen, TradingActivities, unreadable},
    venue::Spot,
};

/// The input of `strategy_run`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartStrategy {
    /// The start.
    pub request: RunRequest,
    /// The workflow that carries it.
    pub holder: String,
    /// It was started before, and the books have lost it.
    #[serde(default)]
    pub lost: bool,
}

/// What has become of a start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// `running`, or `stopped`.
    pub status: String,
    /// Who has paused it, if somebody has: also an earlier run of it that was lost.
    pub paused: Option<Word>,
}

/// The input of `strategy_pause`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PauseStrategy {
    /// Which strategy.
    pub strategy_key: String,
    /// Names the word: said again, it changes nothing.
    pub word_id: String,
    /// Whether it is paused, or resumed.
    pub paused: bool,
    /// Who says so, and why.
    pub word: Word,
}

/// The input of `strategy_sync`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// Which strategy.
    pub strategy_key: String,
}

/// The input of `strategy_quote`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quote {
    /// Which strategy.
    pub tick: Tick,
    /// When the tick begins, ms since 1970: the intents of a tick bear it.
    pub at_ms: u64,
    /// Whether this tick has synced the strategy's orders.
    pub synced: bool,
    /// Who has paused it, if somebody has: its quotes are withdrawn then.
    pub paused: Option<Word>,
    /// The intents of earlier ticks that may not have begun yet, by their ids.
    #[serde(default)]
    pub asked: Vec<String>,
    /// Those that have been waited for long enough: what has not begun by now is called off.
    #[serde(default)]
    pub overdue: Vec<Value>,
}

/// The ledger activities of strategies.
pub struct StrategyActivities {
    /// The books.
    pub books: Books,
}

#[activities]
impl StrategyActivities {
    /// Whether the pair of a start is to be looked up at its venue: not of one that was begun before, nor of a venue that the
    /// books don't know.
    #[activity(name = "strategy_is_new")]
    pub async fn is_new(self: Arc<Self>, _ctx: ActivityContext, input: RunRequest) -> Result<bool, ActivityError> {
        Ok(self.books.strategy_is_new(&input).await.map_err(Failure::from)?)
    }

    /// Starts a strategy, or says what has become of this start. One that the books have lost is a finding: they have lost its
    /// orders as well.
    #[activity(name = "strategy_run")]
    pub async fn start(self: Arc<Self>, _ctx: ActivityContext, input: StartStrategy) -> Result<Started, ActivityError> {
        if input.lost {
            let subject = format!("strategy/{}", input.request.strategy_key);
            let evidence = json!({"start_id": input.request.start_id, "holder": input.holder});
            self.books.find("books_lost_strategy", &subject, "critical", &evidence).await.map_err(Failure::from)?;
        }
        let status = self.books.strategy_run(&input.request, &input.holder).await.map_err(Failure::from)?;
        let paused = self.books.strategy_paused(input.request.strategy_key.as_str()).await.map_err(Failure::from)?;
        Ok(Started { status, paused })
    }

    /// Takes down that a strategy is paused or resumed.
    #[activity(name = "strategy_pause")]
    pub async fn pause(self: Arc<Self>, _ctx: ActivityContext, input: PauseStrategy) -> Result<bool, ActivityError> {
        let PauseStrategy { strategy_key, word_id, paused, word } = &input;
        Ok(self.books.strategy_pause(strategy_key, word_id, *paused, word).await.map_err(Failure::from)?)
    }
}

/// The components of a tick, on the venue's own task queue.
pub struct TickActivities {
    books: Books,
    trading: TradingActivities,
    /// For the venue's rules.
    orders: OrderActivities,
}

#[activities]
impl TickActivities {
    /// Refuses a pair that the venue does not list.
    #[activity(name = "strategy_market")]
    pub async fn market(self: Arc<Self>, ctx: ActivityContext, input: Market) -> Result<String, ActivityError> {
        beating(&ctx, self.trading.patience.poll_max, async {
            self.orders.rules_of(&input.pair).await?;
            Ok(format!("the venue has {}", input.pair))
        })
        .await
    }

    /// Books the fills of a strategy's open orders, and ends those that are over.
    #[activity(name = "strategy_sync")]
    pub async fn sync(self: Arc<Self>, ctx: ActivityContext, input: Tick) -> Result<Look, ActivityError> {
        let work = in_time(&ctx, self.sync_orders(&input.strategy_key));
        beating(&ctx, self.trading.patience.poll_max, work).await
    }

    /// Books the fills of open orders of strategies that are not run by a workflow, and ends those that are over.
    #[activity(name = "venue_follow")]
    pub async fn follow(self: Arc<Self>, ctx: ActivityContext, input: Observe) -> Result<String, ActivityError> {
        beating(&ctx, self.trading.patience.poll_max, in_time(&ctx, self.follow_unfollowed(&input.venue))).await
    }

    /// Says which intents follow from the market, the strategy's open orders and its user's balances.
    #[activity(name = "strategy_quote")]
    pub async fn quote(self: Arc<Self>, ctx: ActivityContext, input: Quote) -> Result<Look, ActivityError> {
        beating(&ctx, self.trading.patience.poll_max, in_time(&ctx, self.wishes(&input))).await
    }
}

impl TickActivities {
    /// Ticks strategies at `venue`.
    pub fn new(books: Books, venue: Arc<dyn Spot>, lane: Arc<Lane>, patience: VenuePatience) -> Self {
        let trading = TradingActivities { books: books.clone(), venue: Arc::clone(&venue), patience };
        Self { orders: OrderActivities::new(books.clone(), venue, lane, patience), trading, books }
    }

    async fn sync_orders(&self, strategy_key: &str) -> Result<Look, Failure> {
        let strategy = self.books.strategy(strategy_key).await?;
        if let Some(why) = keeps_from_syncing(&strategy) {
            return Ok(skipped(strategy.running, &why));
        }
        self.follow_orders(strategy_key).await
    }

    /// The same for the strategies that no run follows, which somebody else has intents executed for.
    async fn follow_unfollowed(&self, venue: &str) -> Result<String, Failure> {
        let strategies = self.books.unfollowed_strategies(venue).await?;
        let mut failed = None;
        for strategy_key in &strategies {
            if let Err(failure) = self.follow_orders(strategy_key).await {
                failed = Some(failure.about(&format!("strategy {strategy_key}")));
            }
        }
        failed.map_or_else(|| Ok(format!("{} strategies with open orders", strategies.len())), Err)
    }

    async fn follow_orders(&self, strategy_key: &str) -> Result<Look, Failure> {
        let mut orders = self.books.live_orders(strategy_key).await?;
        // What is not placed yet is still in the hands of its intent.
        orders.retain(|order| order.state == "placed");
        let (mut open, mut ended, mut failed) = (0, 0, None);
        let Some(first) = orders.first() else { return Ok(synced(open, ended)) };
        let clock = Clock::from(first.now_ms);
        // One request for all of them. Should it fail, each is looked up by itself, as far as the time goes.
        let listed = self.trading.open_beside(first, clock).await.unwrap_or_else(|failure| {
            failed = Some(failure);
            Vec::new()
        });
        for order in &orders {
            match self.trading.sync_order(order, &listed, clock).await {
                Ok(Seen::Over) => ended += 1,
                Ok(_) => open += 1,
                // One order that can't be read must not keep the fills of the others from being booked.
                Err(failure) => failed = Some(failure),
            }
        }
        match failed {
            Some(failure) => Err(failure.about(&format!("{open} orders open, {ended} ended, and one can't be read"))),
            None => Ok(synced(open, ended)),
        }
    }

    async fn wishes(&self, input: &Quote) -> Result<Look, Failure> {
        let key = &input.tick.strategy_key;
        // Asked before anything else is read: what has begun is among the intents and the orders from now on.
        let unseen = self.books.unknown_intents(&input.asked).await?;
        call_off(&self.books, &input.overdue, "it did not begin in time").await?;
        let strategy = self.books.strategy(key).await?;
        // A pause withdraws what there is; a cancel may be asked for twice.
        if strategy.running && input.paused.is_none() && !unseen.is_empty() {
            let why = format!("{} intents of an earlier tick have not begun", unseen.len());
            return Ok(Look { unseen, ..skipped(true, &why) });
        }
        if let Some(why) = keeps_from_quoting(&strategy, input) {
            return Ok(Look { unseen, ..skipped(strategy.running, &why) });
        }
        let open = self.books.open_orders(key).await?;
        let none_open = open.is_empty();
        let wishes = if input.paused.is_some() {
            open.into_iter().map(|order| Wish::Cancel { id: order.id }).collect()
        } else {
            let parameters =
                Parameters::read(strategy.parameters.clone()).map_err(|invalid| Failure::Refused(invalid.into()))?;
            let pair = pair_of(&strategy)?;
            let top = self.trading.venue.top(&pair.symbol()).await.map_err(unreadable)?;
            let view = View {
                best_bid: top.bid,
                best_ask: top.ask,
                open,
                available_base: free(&strategy.available_base)?,
                available_quote: free(&strategy.available_quote)?,
            };
            let filters = Filters {
                quote_decimals: strategy.quote_decimals.unsigned_abs().into(),
                ..self.orders.rules_of(&pair).await?
            };
            quote(&parameters, &filters, &view)
        };
        let intents = intents_of(key, &strategy, input.at_ms, wishes)?;
        let said = match intents.len() {
            0 if none_open && input.paused.is_none() => {
                "no quotes: the book is empty, or order_size or what is free is below the venue's smallest order"
                    .to_owned()
            }
            0 => "nothing to do".to_owned(),
            many => format!("{many} intents of tick {}", input.at_ms),
        };
        Ok(Look { running: true, said, intents, unseen, ..Look::default() })
    }
}

/// The health check of *sync*: why it is not done in this tick, if so.
fn keeps_from_syncing(strategy: &StrategyRow) -> Option<String> {
    if !strategy.running {
        return Some("the strategy is stopped".into());
    }
    strategy.closed.as_ref().map(|why| format!("{} wants to be left alone: {why}", strategy.venue))
}

/// The health check of *quote*. Cancels pass a halt and a freeze, and need no fresh look at the orders: a pause withdraws the quotes
/// whatever else there is.
fn keeps_from_quoting(strategy: &StrategyRow, input: &Quote) -> Option<String> {
    if !strategy.running {
        return Some("the strategy is stopped".into());
    }
    if strategy.in_flight > 0 {
        let also = strategy.held_up.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        return Some(format!("{} intents are not over yet{also}", strategy.in_flight));
    }
    if input.paused.is_some() {
        return None;
    }
    strategy.held_up.clone().or_else(|| (!input.synced).then(|| "its orders are not synced".into()))
}

fn synced(open: u32, ended: u32) -> Look {
    Look { running: true, said: format!("{open} orders open, {ended} ended"), ..Look::default() }
}

fn skipped(running: bool, why: &str) -> Look {
    Look { running, skipped: Some(why.to_owned()), ..Look::default() }
}

fn pair_of(strategy: &StrategyRow) -> Result<Pair, Failure> {
    let broken = |what: String| Failure::Again { kind: "Unreadable", message: what, after: None };
    Pair::try_from(format!("{}/{}", strategy.base, strategy.quote)).map_err(broken)
}

/// A balance, as well as it can be reckoned with; what is not there the books refuse.
fn free(balance: &str) -> Result<Decimal, Failure> {
    let unreadable = |why| Failure::Again { kind: "Unreadable", message: format!("a balance: {why}"), after: None };
    Decimal::from_str(balance).map_err(unreadable)
}

/// The wishes as intents whose ids name the tick: the same tick again gives the same ids.
fn intents_of(key: &str, strategy: &StrategyRow, at_ms: u64, wishes: Vec<Wish>) -> Result<Vec<Value>, Failure> {
    let broken = |what: String| Failure::Again { kind: "Unreadable", message: what, after: None };
    let id = |text: &str| text.to_owned().try_into().map_err(broken);
    wishes
        .into_iter()
        .enumerate()
        .map(|(number, wish)| {
            let action = match wish {
                Wish::Cancel { id } => IntentAction::CancelOrder { order_intent_id: id },
                Wish::Place { side, price, quantity } => IntentAction::PlaceLimitOrder(LimitOrder {
                    side,
                    price,
                    quantity,
                    post_only: true,
                    time_in_force: TimeInForce::GoodTillCancelled,
                }),
            };
            let intent = IntentRequest {
                intent_id: id(&format!("{key}/{at_ms}/{number}"))?,
                strategy_key: id(key)?,
                user_id: id(&strategy.owner)?,
                venue: id(&strategy.venue)?,
                pair: pair_of(strategy)?,
                action,
            };
            Ok(intent.to_json())
        })
        .collect()
}
