//! The admin API: settings, faults, and what really happened. JSON, no credentials.
//!
//! * `GET /health`
//! * `GET`, `PUT /settings`: a change names only what changes; `balances` set the free balances.
//! * `GET /withdrawals?client_id=&coin=`, `POST /withdrawals`, `POST /withdrawals/{id}`
//! * `GET /deposits?coin=&tx_id=`, `POST /deposits`
//! * `GET /orders?client_id=&symbol=`, `POST /orders/{id}`, `POST /orders/{id}/fill`, `POST /orders/{id}/show`
//! * `GET /trades?client_id=&order_id=&symbol=`
//! * `GET /requests?client_id=&path=`, the last of them; `GET /traffic?method=&path=`: how many of all, and at once
//! * `GET`, `POST`, `DELETE /faults`, `DELETE /faults/{id}`: deleting a rule releases what it holds.
//!
//! Amounts are decimals in strings, moments and durations whole milliseconds. A mistake is answered
//! with 400 and `{"error":"field \"ms\": expected …"}`.

mod market;
mod orders;
mod records;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::app::App;
use crate::faults::Spec;
use crate::fields::BadInput;
use crate::request_log::Entry;
use crate::traffic::Count;

type Shared = State<Arc<App>>;
type Reply = Result<Json<Value>, AdminError>;

/// Routes of the admin API.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/settings", get(settings::show).put(settings::change))
        .route("/withdrawals", get(records::withdrawals).post(records::insert))
        .route("/withdrawals/{id}", post(records::force))
        .route("/deposits", get(records::deposits).post(records::deposit))
        .route("/orders", get(orders::orders))
        .route("/orders/{id}", post(orders::end))
        .route("/orders/{id}/fill", post(orders::fill))
        .route("/orders/{id}/show", post(orders::show))
        .route("/trades", get(orders::trades))
        .route("/requests", get(requests))
        .route("/traffic", get(traffic))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .fallback(nothing_here)
        .with_state(app)
}

/// An error answer: `{"error":"…"}`.
struct AdminError {
    status: StatusCode,
    message: String,
}

impl AdminError {
    fn not_found(what: &str, id: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: format!("there is no {what} \"{id}\"") }
    }
}

impl From<BadInput> for AdminError {
    fn from(bad: BadInput) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: bad.0 }
    }
}

impl From<std::io::Error> for AdminError {
    fn from(error: std::io::Error) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: format!("the journal cannot be written: {error}") }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.message}));
        (self.status, body).into_response()
    }
}

/// The query string of a listing: exact filters, each optional.
#[derive(Debug)]
struct Filters(BTreeMap<String, String>);

impl Filters {
    /// Refuses names that are not among the known ones: a misspelt filter must not list everything.
    fn of(Query(values): Query<BTreeMap<String, String>>, known: &[&str]) -> Result<Self, BadInput> {
        match values.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self(values)),
            Some(name) => {
                let expected = format!("not a filter here, expected {}", known.join(", "));
                Err(BadInput::new(name, expected))
            }
        }
    }

    /// Whether a value passes the filter of that name.
    fn pass(&self, name: &str, value: Option<&str>) -> bool {
        let wanted = self.0.get(name);
        wanted.is_none_or(|wanted| value == Some(wanted.as_str()))
    }
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn nothing_here() -> AdminError {
    AdminError { status: StatusCode::NOT_FOUND, message: "there is nothing at this path".to_owned() }
}

async fn requests(State(app): Shared, query: Query<BTreeMap<String, String>>) -> Reply {
    let filters = Filters::of(query, &["client_id", "path"])?;
    let passes = |entry: &&Entry| {
        filters.pass("client_id", entry.client_id.as_deref()) && filters.pass("path", Some(&entry.path))
    };
    let log = app.log();
    let entries: Vec<&Entry> = log.entries().filter(passes).collect();
    Ok(Json(json!(entries)))
}

async fn traffic(State(app): Shared, query: Query<BTreeMap<String, String>>) -> Reply {
    let filters = Filters::of(query, &["method", "path"])?;
    let passes =
        |count: &&Count| filters.pass("method", Some(&count.method)) && filters.pass("path", Some(&count.path));
    let traffic = app.traffic();
    let counts: Vec<&Count> = traffic.counts().filter(passes).collect();
    Ok(Json(json!(counts)))
}

async fn faults(State(app): Shared) -> Json<Value> {
    Json(Value::Array(app.faults().list()))
}

async fn add_fault(State(app): Shared, body: Bytes) -> Reply {
    let spec = Spec::read(&body)?;
    let id = app.faults().add(spec);
    Ok(Json(json!({"fault_id": id})))
}

async fn clear_faults(State(app): Shared) -> Json<Value> {
    let removed = app.faults().clear();
    Json(json!({"removed": removed}))
}

async fn remove_fault(State(app): Shared, Path(id): Path<String>) -> Reply {
    if app.faults().remove(&id) { Ok(Json(json!({"removed": 1}))) } else { Err(AdminError::not_found("fault", &id)) }
}
