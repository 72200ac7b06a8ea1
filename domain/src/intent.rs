use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Amount, BusinessId, Fields, InvalidInput, Pair, Side};

/// The input of an intent: one thing that a strategy wants done at a venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct IntentRequest {
    /// Names the intent; it takes effect at most once, whoever starts it and however often.
    pub intent_id: BusinessId,
    /// In whose name it is done.
    pub strategy_key: BusinessId,
    /// Whose strategy, and whose balance trades.
    pub user_id: BusinessId,
    /// Where.
    pub venue: BusinessId,
    /// On which market.
    pub pair: Pair,
    /// What.
    pub action: IntentAction,
}

/// What an intent is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentAction {
    /// Places an order.
    PlaceLimitOrder(LimitOrder),
    /// Cancels one.
    CancelOrder {
        /// The intent that placed it.
        order_intent_id: BusinessId,
    },
}

/// An order that trades at its price or better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOrder {
    /// Which way.
    pub side: Side,
    /// Quote per base.
    pub price: Amount,
    /// How much of the base.
    pub quantity: Amount,
    /// Refused by the venue rather than trading at once.
    pub post_only: bool,
    /// How long it stays.
    pub time_in_force: TimeInForce,
}

/// How long a limit order stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TimeInForce {
    /// Until it is filled or cancelled: `GTC`.
    #[default]
    GoodTillCancelled,
    /// What is not filled at once expires: `IOC`.
    ImmediateOrCancel,
    /// Filled at once and wholly, or not at all: `FOK`.
    FillOrKill,
}

impl TimeInForce {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::GoodTillCancelled, Self::ImmediateOrCancel, Self::FillOrKill];

    /// The name in inputs, as exchanges write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoodTillCancelled => "GTC",
            Self::ImmediateOrCancel => "IOC",
            Self::FillOrKill => "FOK",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|time| time.name() == name)
    }
}

impl TryFrom<String> for TimeInForce {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::from_name(&text).ok_or_else(|| "GTC, IOC or FOK".into())
    }
}

impl From<TimeInForce> for String {
    fn from(time: TimeInForce) -> Self {
        time.name().into()
    }
}

const PLACE: &str = "place_limit_order";
const CANCEL: &str = "cancel_order";

struct Kind(&'static str);

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = [PLACE, CANCEL].into_iter().find(|kind| *kind == text);
        known.map(Self).ok_or_else(|| format!("{PLACE} or {CANCEL}"))
    }
}

impl LimitOrder {
    fn read(fields: &mut Fields) -> Result<Self, InvalidInput> {
        let order = Self {
            side: fields.text("side")?,
            price: fields.amount("price")?,
            quantity: fields.amount("qty")?,
            post_only: fields.flag("post_only")?,
            time_in_force: fields.optional_text("time_in_force")?.unwrap_or_default(),
        };
        if order.post_only && order.time_in_force != TimeInForce::GoodTillCancelled {
            return Err(InvalidInput::new("post_only", "false for an order that trades at once or not at all"));
        }
        Ok(order)
    }
}

impl IntentRequest {
    /// Reads the JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input)?;
        let Kind(kind) = fields.text("kind")?;
        let intent_id = fields.id("intent_id")?;
        let request = Self {
            strategy_key: fields.id("strategy_key")?,
            user_id: fields.user("user_id")?,
            venue: fields.id("venue")?,
            pair: fields.text("pair")?,
            action: match kind {
                PLACE => IntentAction::PlaceLimitOrder(LimitOrder::read(&mut fields)?),
                _ => IntentAction::CancelOrder { order_intent_id: other_intent(&mut fields, &intent_id)? },
            },
            intent_id,
        };
        fields.finish()?;
        Ok(request)
    }

    /// The input as it is kept in the books: every field, those by default too. [`IntentRequest::read`] reads it back.
    pub fn to_json(&self) -> Value {
        let mut input = json!({
            "intent_id": self.intent_id,
            "kind": self.kind(),
            "strategy_key": self.strategy_key,
            "user_id": self.user_id,
            "venue": self.venue,
            "pair": self.pair,
        });
        match &self.action {
            IntentAction::PlaceLimitOrder(order) => {
                input["side"] = json!(order.side);
                input["price"] = json!(order.price);
                input["qty"] = json!(order.quantity);
                input["post_only"] = json!(order.post_only);
                input["time_in_force"] = json!(order.time_in_force);
            }
            IntentAction::CancelOrder { order_intent_id } => input["order_intent_id"] = json!(order_intent_id),
        }
        input
    }

    /// The order that it places, if it does.
    pub fn order(&self) -> Option<&LimitOrder> {
        match &self.action {
            IntentAction::PlaceLimitOrder(order) => Some(order),
            IntentAction::CancelOrder { .. } => None,
        }
    }

    /// What it is for, by the name in the input.
    pub fn kind(&self) -> &'static str {
        match self.action {
            IntentAction::PlaceLimitOrder(_) => PLACE,
            IntentAction::CancelOrder { .. } => CANCEL,
        }
    }

    /// The client id of the order that it places, or cancels. The same for the one as for the other, and for every
    /// repetition: that is how an order is found again whose placing nobody saw the end of.
    pub fn order_id(&self) -> String {
        let placing = match &self.action {
            IntentAction::PlaceLimitOrder(_) => &self.intent_id,
            IntentAction::CancelOrder { order_intent_id } => order_intent_id,
        };
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("backstop:intent:{placing}").as_bytes()).simple().to_string()
    }

    /// What it is for, for people.
    pub fn in_words(&self) -> String {
        match &self.action {
            IntentAction::PlaceLimitOrder(order) => {
                let LimitOrder { side, price, quantity, .. } = order;
                let Pair { base, quote } = &self.pair;
                let terms = if order.post_only { "post-only" } else { order.time_in_force.name() };
                format!("{side} {quantity} {base} at {price} {quote} on {} ({terms})", self.venue)
            }
            IntentAction::CancelOrder { order_intent_id } => {
                format!("cancel the {} order of intent {order_intent_id} on {}", self.pair, self.venue)
            }
        }
    }
}

/// The intent whose order is meant. One that cancels has none of its own.
fn other_intent(fields: &mut Fields, own: &BusinessId) -> Result<BusinessId, InvalidInput> {
    let other = fields.id("order_intent_id")?;
    if other == *own {
        return Err(InvalidInput::new("order_intent_id", "another intent than this one"));
    }
    Ok(other)
}

impl TryFrom<Value> for IntentRequest {
    type Error = InvalidInput;

    fn try_from(input: Value) -> Result<Self, InvalidInput> {
        Self::read(input)
    }
}

impl From<IntentRequest> for Value {
    fn from(request: IntentRequest) -> Self {
        request.to_json()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{IntentAction, IntentRequest, TimeInForce};
    use crate::Side;

    fn place() -> Value {
        json!({
            "intent_id": "i-1", "kind": "place_limit_order", "strategy_key": "mm-1", "user_id": "u1", "venue": "binance",
            "pair": "BTC/USDT", "side": "buy", "price": "60000.50", "qty": "0.5",
        })
    }

    fn cancel() -> Value {
        json!({
            "intent_id": "i-2", "kind": "cancel_order", "strategy_key": "mm-1", "user_id": "u1", "venue": "binance",
            "pair": "BTC/USDT", "order_intent_id": "i-1",
        })
    }

    fn refused(mut input: Value, field: &str, bad: Value) -> String {
        input[field] = bad;
        IntentRequest::read(input).unwrap_err().field
    }

    #[test]
    fn an_order_stays_until_it_is_cancelled_and_may_trade_at_once_unless_told_otherwise() {
        let request = IntentRequest::read(place()).unwrap();
        let IntentAction::PlaceLimitOrder(order) = request.action else { panic!("{request:?}") };
        assert_eq!((order.side, order.post_only, order.time_in_force), (Side::Buy, false, TimeInForce::default()));
        assert_eq!((order.price.to_string().as_str(), order.quantity.to_string().as_str()), ("60000.5", "0.5"));
        assert_eq!(order.time_in_force.name(), "GTC");
    }

    #[test]
    fn every_wrong_missing_or_unknown_field_is_named() {
        for (field, bad) in [
            ("intent_id", json!(" ")),
            ("kind", json!("place")),
            ("strategy_key", json!(7)),
            ("user_id", json!("~suspense")),
            ("venue", json!("")),
            ("pair", json!("BTCUSDT")),
            ("note", json!("none of its fields")),
        ] {
            assert_eq!(refused(place(), field, bad.clone()), field);
            assert_eq!(refused(cancel(), field, bad), field);
        }
        for (field, bad) in [
            ("side", json!("BUY")),
            ("price", json!(60_000)),
            ("qty", json!("0")),
            ("post_only", json!("yes")),
            ("time_in_force", json!("GTD")),
            ("order_intent_id", json!("i-0")),
        ] {
            assert_eq!(refused(place(), field, bad), field);
        }
        for (field, bad) in [("order_intent_id", json!("i-2")), ("side", json!("buy")), ("post_only", json!(false))] {
            assert_eq!(refused(cancel(), field, bad), field);
        }
        for good in [place(), cancel()] {
            for field in good.as_object().unwrap().keys() {
                assert_eq!(&refused(good.clone(), field, Value::Null), field);
            }
        }
        assert_eq!(IntentRequest::read(json!("i-1")).unwrap_err().field, "input");
    }

    #[test]
    fn an_order_that_trades_at_once_or_not_at_all_is_not_post_only() {
        let mut input = place();
        input["post_only"] = json!(true);
        for (time, good) in [("GTC", true), ("IOC", false), ("FOK", false)] {
            input["time_in_force"] = json!(time);
            let answer = IntentRequest::read(input.clone()).map_err(|error| error.field);
            assert_eq!(answer.as_ref().err().map(String::as_str), (!good).then_some("post_only"), "{time}");
        }
    }

    #[test]
    fn what_the_books_keep_is_read_back() {
        let mut whole = place();
        whole["post_only"] = json!(true);
        whole["time_in_force"] = json!("GTC");
        whole["price"] = json!("60000.5");
        for input in [whole, cancel()] {
            assert_eq!(IntentRequest::read(input.clone()).unwrap().to_json(), input);
        }
        let mut fleeting = place();
        fleeting["time_in_force"] = json!("IOC");
        for input in [place(), fleeting, cancel()] {
            let request = IntentRequest::read(input).unwrap();
            assert_eq!(IntentRequest::read(request.to_json()), Ok(request.clone()));
            assert_eq!(serde_json::from_value::<IntentRequest>(json!(request)).unwrap(), request);
        }
        assert!(serde_json::from_value::<IntentRequest>(json!({"kind": "cancel_order"})).is_err());
    }

    #[test]
    fn a_cancel_finds_the_order_by_the_client_id_it_was_placed_with() {
        let [placed, cancelled] = [place(), cancel()].map(|input| IntentRequest::read(input).unwrap().order_id());
        // Orders at the venue bear it for good.
        assert_eq!(placed, "7bee6c255e9a5e86a1b9f0c88c2a0d52");
        assert_eq!(cancelled, placed);
        let mut other = place();
        other["intent_id"] = json!("i-3");
        assert_ne!(IntentRequest::read(other).unwrap().order_id(), placed);
    }

    #[test]
    fn people_are_told_what_it_is_for() {
        let mut maker = place();
        maker["post_only"] = json!(true);
        for (input, words) in [
            (place(), "buy 0.5 BTC at 60000.5 USDT on binance (GTC)"),
            (maker, "buy 0.5 BTC at 60000.5 USDT on binance (post-only)"),
            (cancel(), "cancel the BTC/USDT order of intent i-1 on binance"),
        ] {
            assert_eq!(IntentRequest::read(input).unwrap().in_words(), words);
        }
    }
}
