//! What trading asks of an exchange: orders, and the trades they made.

use backstop_domain::{Amount, Filters, Pair};
use futures::future::BoxFuture;
use rust_decimal::Decimal;

use super::{LookupFailed, SendOutcome};
use crate::books::Priority;

/// Which way an order trades its base asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Spends the quote asset.
    Buy,
    /// Spends the base asset.
    Sell,
}

/// How long a limit order stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeInForce {
    /// Until it is filled or cancelled.
    GoodTillCancelled,
    /// What is not filled at once expires.
    ImmediateOrCancel,
    /// Filled at once and wholly, or not at all.
    FillOrKill,
}

/// At which price an order trades. Prices are decimal strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind<'a> {
    /// At this price or better.
    Limit {
        /// The price.
        price: &'a str,
        /// How long it stays.
        time_in_force: TimeInForce,
    },
    /// At this price, and refused if it would take anything at once.
    LimitMaker {
        /// The price.
        price: &'a str,
    },
    /// At any price.
    Market,
}

/// An order to place.
#[derive(Clone, Copy, Debug)]
pub struct NewOrder<'a> {
    /// Our id of it.
    pub client_id: &'a str,
    /// What is traded, in the venue's words.
    pub symbol: &'a str,
    /// Which way.
    pub side: Side,
    /// At which price.
    pub kind: OrderKind<'a>,
    /// How much of the base asset, a decimal string.
    pub quantity: &'a str,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderEnding {
    /// All of it was traded.
    Filled,
    /// It was cancelled, by us or by somebody with access to the account.
    Canceled,
    /// The venue did not take it.
    Rejected,
    /// The venue ended it, by its type or by a rule of its own.
    Expired,
}

/// How an order stands in the venue's own record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// It may still trade.
    Open,
    /// It is over. What was executed until then stays executed, whatever the ending.
    Ended(OrderEnding),
}

/// The venue's own record of an order. Amounts are decimal strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRecord {
    /// The venue's id, of its symbol.
    pub id: String,
    /// Our id; in a lookup by the venue's id, whatever the venue knows it by.
    pub client_id: String,
    /// How it stands.
    pub state: OrderState,
    /// Its limit; zero for a market order.
    pub price: String,
    /// How much of the base asset it is for.
    pub quantity: String,
    /// How much of that was traded.
    pub executed_quantity: String,
    /// What that came to in the quote asset.
    pub executed_quote: String,
    /// When the venue took it, by its clock, ms since 1970.
    pub placed_at_ms: i64,
    /// When it changed last, by the same clock.
    pub updated_at_ms: i64,
}

/// The venue's own record of a trade. Amounts are decimal strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradeRecord {
    /// The venue's id, of its symbol.
    pub id: String,
    /// The venue's id of its order.
    pub order_id: String,
    /// In units of the quote asset.
    pub price: String,
    /// In the base asset.
    pub quantity: String,
    /// In the quote asset.
    pub quote_quantity: String,
    /// What the venue took for it.
    pub fee: String,
    /// The asset that was taken in; it may be neither of the two.
    pub fee_asset: String,
    /// Whether it brought in the base asset.
    pub is_buyer: bool,
    /// Whether the order was resting when it was met.
    pub is_maker: bool,
    /// By the venue's clock, ms since 1970.
    pub traded_at_ms: i64,
}

/// What the account holds of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Which asset.
    pub asset: String,
    /// What is free and what open orders lock, together.
    pub held: Decimal,
}

/// The top of a symbol's book, quote per base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// The highest price that somebody buys at.
    pub bid: Option<Amount>,
    /// The lowest price that somebody sells at.
    pub ask: Option<Amount>,
}

/// What orders need of a venue. Times are ms since 1970 and come from the caller, or from the slot that a paced connector
/// waits for, so that every process signs by one clock. Who places an order has taken its slot already.
pub trait Spot: Send + Sync {
    /// Places an order, once. The venue refuses it when it arrives past `signed_at_ms` plus the receive window.
    ///
    /// `Done` says that it was taken, not what came of it. "Insufficient balance" may be an earlier attempt's success:
    /// a rejection speaks for its own attempt only.
    fn place<'a>(&'a self, order: NewOrder<'a>, signed_at_ms: i64) -> BoxFuture<'a, SendOutcome>;

    /// Asks for the end of an order, once.
    ///
    /// `Rejected` says that this cancel had no effect, as when the order is over already, or not known (yet): it says
    /// nothing about the order, whose own record has to be looked up in any case.
    fn cancel<'a>(&'a self, symbol: &'a str, client_id: &'a str, now_ms: i64) -> BoxFuture<'a, SendOutcome>;

    /// The order with this client id; `None` only when the venue says that there is none. An order that was taken just
    /// now may not be shown yet: absence proves something only past the deadline and the venue's visibility lag.
    ///
    /// Our own cancel of an order does not hide it here. Somebody else's may: the venue can know a cancelled order by
    /// the cancel's id, so that nothing is found by ours. Look an order up by the venue's id where that is known.
    ///
    /// A client id is unique among open orders only: when it was used more than once, the venue answers with the
    /// newest order, and with an older one when the newest did not reach it. Use each client id for one order.
    fn order<'a>(
        &'a self,
        symbol: &'a str,
        client_id: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Option<OrderRecord>, LookupFailed>> {
        self.order_in_turn(symbol, client_id, now_ms, Priority::Look)
    }

    /// The same in a slot of another priority: an order that is yet to be placed is looked for in line with orders, so that
    /// a backlog of them keeps no cancel waiting. Where that takes more than one request, the others don't stand in line
    /// again: or in a long line none would ever come to its end.
    fn order_in_turn<'a>(
        &'a self,
        symbol: &'a str,
        client_id: &'a str,
        now_ms: i64,
        priority: Priority,
    ) -> BoxFuture<'a, Result<Option<OrderRecord>, LookupFailed>>;

    /// The order with this id of the venue's, whatever client id it goes by now; `None` only when the venue says that
    /// there is none.
    fn order_by_id<'a>(
        &'a self,
        symbol: &'a str,
        venue_order_id: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Option<OrderRecord>, LookupFailed>>;

    /// The venue's rules for the limit orders of a pair; `None` when it has no such market.
    fn filters<'a>(&'a self, pair: &'a Pair) -> BoxFuture<'a, Result<Option<Filters>, LookupFailed>>;

    /// Where the market of a symbol stands now.
    fn top<'a>(&'a self, symbol: &'a str) -> BoxFuture<'a, Result<Top, LookupFailed>>;

    /// All open orders of a symbol, whoever placed them. Complete, or an error.
    fn open_orders<'a>(&'a self, symbol: &'a str, now_ms: i64)
    -> BoxFuture<'a, Result<Vec<OrderRecord>, LookupFailed>>;

    /// Every order of a symbol that the venue has taken since `from_ms`, whatever became of it, oldest first. Complete, or
    /// an error. One that was cancelled may have another client id.
    fn orders_since<'a>(
        &'a self,
        symbol: &'a str,
        from_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<OrderRecord>, LookupFailed>>;

    /// The client id that the venue may show for an order of ours once we have cancelled it.
    fn known_as_when_cancelled(&self, client_id: &str) -> String;

    /// Every trade of a symbol since `from_ms`, whichever order made it, that the venue shows by now, oldest first.
    fn trades_since<'a>(
        &'a self,
        symbol: &'a str,
        from_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<TradeRecord>, LookupFailed>>;

    /// What the account holds. An asset of which it holds nothing may be missing.
    fn balances(&self, now_ms: i64) -> BoxFuture<'_, Result<Vec<Balance>, LookupFailed>>;

    /// All trades of an order that the venue shows by now, oldest first. Complete as far as that goes, or an error: a
    /// venue may show a trade later than the end of its order, so they are all there only when their quantities sum up
    /// to the record's `executed_quantity`.
    fn trades<'a>(
        &'a self,
        symbol: &'a str,
        venue_order_id: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<Vec<TradeRecord>, LookupFailed>>;
}
