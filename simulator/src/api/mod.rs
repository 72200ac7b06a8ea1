//! The public API: which endpoint a request is for, and what the endpoint answers.

mod history;
mod market;
mod orders;
mod place;
mod ticker;
mod trades;
mod wallet;
mod withdraw;

use serde_json::json;

use crate::answer::Answer;
use crate::app::App;
use crate::auth::{Claim, authorize};
use crate::clock::{Millis, wall_ms};
use crate::faults::Twist;
use crate::params::Params;
use crate::refusal::{Refusal, UNKNOWN};

pub(crate) use history::tx_id;

/// Where withdrawals are asked for.
pub(crate) const APPLY_PATH: &str = "/sapi/v1/capital/withdraw/apply";

/// Where orders are placed, looked up and cancelled.
pub(crate) const ORDER_PATH: &str = "/api/v3/order";

/// A request, read completely.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Without the question mark.
    pub(crate) query: String,
    pub(crate) body: String,
    pub(crate) api_key: Option<String>,
}

/// Endpoints that ask for no key and no signature ("Request Security": NONE).
const PUBLIC: [&str; 4] =
    ["/api/v3/exchangeInfo", "/api/v3/depth", "/api/v3/ticker/bookTicker", "/api/v3/ticker/price"];

/// What an endpoint works with.
struct Call<'a> {
    app: &'a App,
    params: Params,
    /// The machine's clock, which drives the records.
    now: Millis,
    /// The server's clock, which the client sees.
    server_now: Millis,
    twist: &'a Twist,
}

type Endpoint = fn(&Call<'_>) -> Result<Answer, Refusal>;

/// Executes a request at this moment; all checks, the receive window too, are made now.
pub(crate) fn execute(app: &App, request: &ApiRequest, twist: &Twist) -> Answer {
    let now = wall_ms();
    let server_now = now + app.ledger().settings().clock_offset_ms;
    let endpoint: Endpoint = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/api/v3/ping") => return Answer::ok(&json!({})),
        ("GET", "/api/v3/time") => return Answer::ok(&json!({"serverTime": server_now})),
        ("GET", "/api/v3/exchangeInfo") => market::exchange_info,
        ("GET", "/api/v3/depth") => ticker::depth,
        ("GET", "/api/v3/ticker/bookTicker") => ticker::book_ticker,
        ("GET", "/api/v3/ticker/price") => ticker::price,
        ("GET", "/api/v3/account") => wallet::account,
        ("GET", "/sapi/v1/capital/config/getall") => wallet::all_coins,
        ("GET", "/sapi/v1/capital/deposit/hisrec") => history::deposits,
        ("GET", "/sapi/v1/capital/withdraw/history") => history::withdrawals,
        ("POST", APPLY_PATH) => withdraw::apply,
        ("GET", "/sapi/v1/margin/allPairs" | "/sapi/v1/margin/isolated/allPairs") => market::margin_pairs,
        ("GET", "/api/v3/openOrders") => orders::open_orders,
        ("GET", "/api/v3/allOrders") => orders::all_orders,
        ("GET", "/api/v3/myTrades") => trades::my_trades,
        ("GET", ORDER_PATH) => orders::order,
        ("POST", ORDER_PATH) => place::place,
        ("DELETE", ORDER_PATH) => orders::cancel,
        _ => return Answer::not_found(),
    };
    let params = if PUBLIC.contains(&request.path.as_str()) {
        Params::parse(&request.query, &request.body)
    } else {
        let claim = Claim { api_key: request.api_key.as_deref(), query: &request.query, body: &request.body };
        authorize(&claim, &app.keys, server_now)
    };
    let answered = params.and_then(|params| endpoint(&Call { app, params, now, server_now, twist }));
    answered.unwrap_or_else(Answer::from)
}

/// The books could not be written, so nothing was done.
fn not_recorded(error: &std::io::Error) -> Refusal {
    tracing::error!(%error, "the journal cannot be written");
    let msg = "An unknown error occurred while processing the request.";
    Refusal::with_status(500, UNKNOWN, msg)
}
