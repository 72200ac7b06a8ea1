//! Goal: a client library that knows nothing of this program works with it as with the exchange: the exchange's own
//! connector (<https://github.com/binance/binance-connector-rust>), pointed here and otherwise as it is.

use binance_spot_connector_rust::{
    http::{Credentials, error::ClientError, request::Request},
    market, trade,
    trade::order::{Side, TimeInForce},
    ureq::{BinanceHttpClient, Error},
    wallet,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::client::{KEY, SECRET, Sim};

const SYMBOL: &str = "BTCUSDT";
const ADDRESS: &str = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";

/// The library, which blocks.
#[derive(Clone)]
struct Library(BinanceHttpClient);

impl Library {
    fn of(sim: &Sim, secret: &str) -> Self {
        let client = BinanceHttpClient::with_url(&format!("http://{}", sim.api));
        Self(client.credentials(Credentials::from_hmac(KEY, secret)))
    }

    async fn try_send(&self, request: impl Into<Request>) -> Result<Value, i16> {
        let (client, request) = (self.0.clone(), request.into());
        let answer = tokio::task::spawn_blocking(move || client.send(request)?.into_body_str());
        match answer.await.unwrap() {
            Ok(text) => Ok(serde_json::from_str(&text).unwrap()),
            Err(error) => match *error {
                Error::Client(ClientError::Structured(refusal)) => Err(refusal.data.code),
                other => panic!("{other:?}"),
            },
        }
    }

    async fn send(&self, request: impl Into<Request>) -> Value {
        self.try_send(request).await.unwrap()
    }
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn bid(client_id: &str, price: &str) -> trade::new_order::NewOrder {
    trade::new_order(SYMBOL, Side::Buy, "LIMIT")
        .time_in_force(TimeInForce::Gtc)
        .quantity(number("0.1"))
        .price(number(price))
        .new_client_order_id(client_id)
}

#[tokio::test]
async fn it_reads_the_market() {
    let sim = Sim::start().await;
    let library = Library::of(&sim, SECRET);
    assert_eq!(library.send(market::ping()).await, json!({}));
    assert!(library.send(market::time()).await["serverTime"].is_i64());
    let info = library.send(market::exchange_info().symbol(SYMBOL)).await;
    assert_eq!(info["symbols"][0]["symbol"], SYMBOL);
    let book = library.send(market::depth(SYMBOL).limit(5)).await;
    assert!(!book["bids"].as_array().unwrap().is_empty() && !book["asks"].as_array().unwrap().is_empty(), "{book}");
    assert_eq!(library.send(market::book_ticker().symbol(SYMBOL)).await["symbol"], SYMBOL);
}

#[tokio::test]
async fn it_trades() {
    let sim = Sim::start().await;
    let library = Library::of(&sim, SECRET);
    let placed = library.send(bid("theirs-1", "50000")).await;
    let id = placed["orderId"].as_u64().unwrap();
    let by_client_id = trade::get_order(SYMBOL).orig_client_order_id("theirs-1");
    assert_eq!(library.send(by_client_id).await["orderId"], id);
    let open = library.send(trade::open_orders().symbol(SYMBOL)).await;
    assert_eq!((open.as_array().unwrap().len(), &open[0]["clientOrderId"]), (1, &json!("theirs-1")));
    let cancelled = library.send(trade::cancel_order(SYMBOL).orig_client_order_id("theirs-1")).await;
    assert_eq!(cancelled["status"], "CANCELED");
    // Above the market it trades at once.
    let taken = library.send(bid("theirs-2", "110000")).await;
    assert_eq!(taken["status"], "FILLED", "{taken}");
    let all = library.send(trade::all_orders(SYMBOL).order_id(id)).await;
    assert_eq!(all.as_array().unwrap().len(), 2, "{all}");
    let trades = library.send(trade::my_trades(SYMBOL).order_id(taken["orderId"].as_u64().unwrap())).await;
    let sum: Decimal = trades.as_array().unwrap().iter().map(|trade| number(trade["qty"].as_str().unwrap())).sum();
    assert_eq!(sum, number("0.1"));
    assert!(library.send(trade::account()).await["balances"].is_array());
}

#[tokio::test]
async fn it_withdraws() {
    let sim = Sim::start().await;
    let library = Library::of(&sim, SECRET);
    let coins = library.send(wallet::coin_info()).await;
    assert!(coins.as_array().unwrap().iter().any(|coin| coin["coin"] == "BTC"), "{coins}");
    let withdraw = wallet::withdraw("BTC", ADDRESS, number("0.25")).withdraw_order_id("theirs").network("BTC");
    let id = library.send(withdraw).await["id"].clone();
    let history = library.send(wallet::withdraw_history().withdraw_order_id("theirs")).await;
    assert_eq!((history.as_array().unwrap().len(), &history[0]["id"]), (1, &id));
    assert!(library.send(wallet::deposit_history()).await.is_array());
}

#[tokio::test]
async fn it_understands_refusals() {
    let sim = Sim::start().await;
    let library = Library::of(&sim, SECRET);
    let absent = trade::get_order(SYMBOL).orig_client_order_id("absent");
    assert_eq!(library.try_send(absent).await, Err(-2013));
    assert_eq!(library.try_send(bid("off-tick", "50000.001")).await, Err(-1013));
    let dear = trade::new_order(SYMBOL, Side::Buy, "LIMIT").time_in_force(TimeInForce::Gtc);
    assert_eq!(library.try_send(dear.quantity(number("50")).price(number("90000"))).await, Err(-2010));
    assert_eq!(Library::of(&sim, "another secret").try_send(trade::account()).await, Err(-1022));
}
