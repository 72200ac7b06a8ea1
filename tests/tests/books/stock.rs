//! What the tests of withdrawals, fundings, orders and pauses share: requests, and the world they are made in.

use backstop_activities::books::{BooksError, PlacedOrder};
use backstop_domain::{
    Decision, FundRequest, IntentRequest, PauseRequest, PayoutId, RefundRequest,
    payout::{PayoutKind, PayoutOrder},
};
use serde_json::{Value, json};

use crate::desk::{ADDRESS, Desk, HOLDER, LONG, SHORT, id, order};

/// The strategy that trades BTC for USDT with alice's money.
pub(crate) const STRATEGY: &str = "mm-1";
/// An ether address, where USDT goes.
pub(crate) const ETHER: &str = "0x52908400098527886E0F7030069857D2E4169EE7";

/// Rita asks for some of alice's BTC. From 0.5 on somebody else has to approve it.
pub(crate) fn withdrawal(name: &str, amount: &str) -> PayoutOrder {
    PayoutOrder {
        payout_id: PayoutId::withdrawal(&id(name)),
        kind: PayoutKind::Withdrawal,
        reason: None,
        requested_by: Some(id("rita")),
        input: json!({"withdrawal_id": name}),
        ..order(name, amount)
    }
}

pub(crate) fn decision(operator: &str) -> Decision {
    Decision { operator: id(operator), evidence: id("ticket 5") }
}

/// Carol's order needs 0.5 BTC and 20000 USDT; both go back where they should not be needed.
pub(crate) fn fund(order_id: &str) -> FundRequest {
    fund_with(order_id, &json!({}))
}

/// The same with other fields.
pub(crate) fn fund_with(order_id: &str, fields: &Value) -> FundRequest {
    let mut input = json!({
        "order_id": order_id, "user_id": "carol", "venue": "binance", "base_asset_id": "BTC", "base_amount": "0.5",
        "quote_asset_id": "USDT", "quote_amount": "20000",
        "refund_destination": {
            "BTC": {"network": "BTC", "address": ADDRESS}, "USDT": {"network": "ETH", "address": ETHER},
        },
    });
    for (field, value) in fields.as_object().unwrap() {
        input[field] = value.clone();
    }
    FundRequest::read(input).unwrap()
}

/// Rita stops alice's strategy and asks for 0.1 BTC.
pub(crate) fn pause(operation: &str, strategy: &str) -> PauseRequest {
    let input = json!({
        "operation_id": operation, "strategy_key": strategy, "user_id": "alice", "requested_by": "rita",
        "asset_id": "BTC", "amount": "0.1", "destination": {"network": "BTC", "address": ADDRESS},
    });
    PauseRequest::read(input).unwrap()
}

/// An intent to sell 0.1 BTC at 30000 in alice's strategy.
pub(crate) fn place_intent(name: &str) -> IntentRequest {
    place_intent_of(name, STRATEGY)
}

/// The same in another strategy of hers.
pub(crate) fn place_intent_of(name: &str, strategy: &str) -> IntentRequest {
    let input = json!({
        "intent_id": name, "kind": "place_limit_order", "strategy_key": strategy, "user_id": "alice",
        "venue": "binance", "pair": "BTC/USDT", "side": "sell", "price": "30000", "qty": "0.1",
    });
    IntentRequest::read(input).unwrap()
}

/// The same with another field.
pub(crate) fn intent_with(name: &str, field: &str, value: &str) -> IntentRequest {
    let mut input = place_intent(name).to_json();
    input[field] = value.into();
    IntentRequest::read(input).unwrap()
}

/// An intent to cancel the order of another.
pub(crate) fn cancel_intent(name: &str, other: &str, strategy: &str) -> IntentRequest {
    let input = json!({
        "intent_id": name, "kind": "cancel_order", "strategy_key": strategy, "user_id": "alice", "venue": "binance",
        "pair": "BTC/USDT", "order_intent_id": other,
    });
    IntentRequest::read(input).unwrap()
}

/// Sells 0.1 BTC at 30000.
pub(crate) fn sell(order_id: &str) -> PlacedOrder<'_> {
    PlacedOrder { order_id, holder: HOLDER, strategy_key: STRATEGY, side: "sell", price: "30000", quantity: "0.1" }
}

/// Buys 0.1 BTC at 30000.
pub(crate) fn buy(order_id: &str) -> PlacedOrder<'_> {
    PlacedOrder { side: "buy", ..sell(order_id) }
}

impl Desk {
    /// Takes down a deposit of carol's order `tag`, or of nobody's.
    pub(crate) async fn observe(&self, deposit: &str, amount: &str, asset: &str, tag: &str) -> bool {
        let network = if asset == "BTC" { "BTC" } else { "ETH" };
        self.books.deposit_observe("binance", deposit, asset, network, amount, Some(tag)).await.unwrap()
    }

    /// An operator says whose a deposit is.
    pub(crate) async fn assign(&mut self, deposit: &str, user: &str) -> Result<bool, BooksError> {
        let sql = "SELECT deposit_assign('binance', $1, $2, 'olga', 'ticket 4')";
        Ok(sqlx::query_scalar(sql).bind(deposit).bind(user).fetch_one(&mut self.owner).await?)
    }

    /// The refund that a part of a deposit is to be paid by, as its workflow would name it.
    pub(crate) async fn refund_of(&self, order_id: &str, part: &str) -> PayoutOrder {
        let status = self.books.funding_status(order_id).await.unwrap();
        let refund = status.refunds.into_iter().find(|refund| refund.refund_id == part).unwrap();
        PayoutOrder::of_refund(&RefundRequest::read(refund.input).unwrap(), HOLDER)
    }

    /// What carol has of an asset: available and locked.
    pub(crate) async fn has(&mut self, owner: &str, asset: &str) -> String {
        let sql = "SELECT coalesce((SELECT trim_scale(available)::text || ' + ' || trim_scale(locked)::text
                     FROM accounts WHERE owner = $1 AND asset = $2), 'nothing')";
        sqlx::query_scalar(sql).bind(owner).bind(asset).fetch_one(&mut self.owner).await.unwrap()
    }

    /// The parts that deposits were divided into, as `name state amount asset`.
    pub(crate) async fn parts(&mut self) -> Vec<String> {
        self.texts(
            "SELECT concat_ws(' ', reservation_id, state, trim_scale(amount), asset) FROM funding_parts
              ORDER BY reservation_id COLLATE \"C\"",
        )
        .await
    }

    /// Runs a strategy of alice's.
    pub(crate) async fn start(&self, strategy: &str) -> Result<bool, BooksError> {
        let sql = "SELECT strategy_start($1, 'alice', 'binance', 'BTC', 'USDT', '{}', 'olga')";
        Ok(sqlx::query_scalar(sql).bind(strategy).fetch_one(self.books.pool()).await?)
    }

    pub(crate) async fn stop(&self, strategy: &str) -> Result<bool, BooksError> {
        self.books.strategy_stop(strategy, "olga", "enough").await
    }

    /// Books with a strategy that runs.
    pub(crate) async fn trading() -> Self {
        let desk = Self::open().await;
        desk.start(STRATEGY).await.unwrap();
        desk
    }

    /// Opens an order and gives leave to send it.
    pub(crate) async fn sent(&self, order: &PlacedOrder<'_>) {
        self.books.order_open(order).await.unwrap();
        self.books.order_attempt(order.order_id, HOLDER, SHORT, LONG).await.unwrap();
    }

    /// The same, and the venue has it.
    pub(crate) async fn placed(&self, order: &PlacedOrder<'_>) {
        self.sent(order).await;
        self.books.order_place(order.order_id, "v-1").await.unwrap();
    }

    pub(crate) async fn fill(&self, order_id: &str, trade: &str, legs: (&str, &str), fee: (&str, &str)) -> bool {
        self.books.fill_book(order_id, trade, legs, fee).await.unwrap()
    }

    /// What both sides of the fee got that the house has paid for an order's fill, as `counter asset amount`, sorted.
    pub(crate) async fn house_fee(&mut self, order_id: &str) -> Vec<String> {
        let sql = "SELECT concat_ws(' ', e.counter, a.asset, trim_scale(e.d_counter))
                     FROM entries AS e JOIN accounts AS a ON a.id = e.account
                    WHERE e.kind = 'fill_house_fee' AND e.key LIKE 'fill/' || $1 || '/%' ORDER BY e.counter";
        sqlx::query_scalar(sql).bind(order_id).fetch_all(&mut self.owner).await.unwrap()
    }

    /// The state of an order.
    pub(crate) async fn order_state(&mut self, order_id: &str) -> String {
        let sql = "SELECT state FROM orders WHERE order_id = $1";
        sqlx::query_scalar(sql).bind(order_id).fetch_one(&mut self.owner).await.unwrap()
    }
}
