//! An example of a consumer: it keeps the sum of what each account's entries have changed, in a table of its own beside the
//! books. It verifies who has sent a delivery, and applies each once, however often it comes and however many processes of
//! it there are.
//!
//! Settings: `DATABASE_URL`, `BACKSTOP_WEBHOOK_SECRET`, and `LISTEN`, an address.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use backstop_activities::{
    books::once,
    outbox::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookSecret},
};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;

struct Consumer {
    pool: PgPool,
    secret: WebhookSecret,
}

#[tokio::main]
async fn main() -> Result<()> {
    let setting = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let secret = WebhookSecret::read(&setting("BACKSTOP_WEBHOOK_SECRET")?.into()).map_err(anyhow::Error::msg)?;
    let consumer = Consumer { pool: PgPool::connect(&setting("DATABASE_URL")?).await?, secret };
    let router = Router::new().route("/", post(receive)).with_state(Arc::new(consumer));
    axum::serve(TcpListener::bind(setting("LISTEN")?).await?, router).await?;
    Ok(())
}

/// 2xx says that the event is applied. Whatever else happens, it comes again.
async fn receive(State(consumer): State<Arc<Consumer>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header =
        |name| headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).unwrap_or_default();
    let (id, timestamp, signature) = (header(ID_HEADER), header(TIMESTAMP_HEADER), header(SIGNATURE_HEADER));
    if consumer.secret.verify(id, timestamp, signature, &body).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(event) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    match consumer.apply(&event).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => {
            eprintln!("{id} is not applied: {error:#}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl Consumer {
    async fn apply(&self, event: &Value) -> Result<()> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("not a text");
        let mut transaction = self.pool.begin().await?;
        if once(&mut transaction, "totals", &text(&event["id"])?).await? {
            sqlx::query(
                "INSERT INTO public.totals AS t (account, available) VALUES ($1, $2::numeric)
                 ON CONFLICT (account) DO UPDATE SET available = t.available + excluded.available, events = t.events + 1",
            )
            .bind(text(&event["subject"])?)
            .bind(text(&event["data"]["d_available"])?)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }
}
