//! Where events go.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde_json::json;

use super::{
    file,
    signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookSecret, unix_seconds},
};
use crate::books::{Event, Fault, NotTaken};

/// How long an endpoint is left alone that says it is gone, but not for how long.
const GONE: Duration = Duration::from_secs(3_600);

/// A webhook, or a file.
pub(super) enum Sink {
    Webhook { http: reqwest::Client, url: Url, secret: WebhookSecret },
    File(PathBuf),
}

/// An event as it is sent: the same bytes at every attempt.
pub(super) struct CloudEvent {
    pub(super) id: String,
    pub(super) place: i64,
    body: Vec<u8>,
}

impl CloudEvent {
    /// A `CloudEvent` 1.0 in its structured JSON form. `sequence` tells the order of its aggregate's events; digits are put in
    /// front so that the order of the texts is that of the numbers.
    pub(super) fn new(source: &str, aggregate: &str, event: &Event) -> Self {
        let body = json!({
            "specversion": "1.0",
            "id": event.id,
            "source": source,
            "type": format!("backstop.{}", event.kind),
            "subject": aggregate,
            "time": event.at,
            "datacontenttype": "application/json",
            "sequence": format!("{:019}", event.place),
            "data": event.data,
        });
        Self { id: event.id.clone(), place: event.place, body: body.to_string().into_bytes() }
    }
}

impl Sink {
    /// How many events it takes at once. A webhook takes one after the other, and each is recorded before the next is sent.
    pub(super) fn at_once(&self) -> usize {
        match self {
            Self::Webhook { .. } => 1,
            Self::File(_) => usize::MAX,
        }
    }

    /// Delivers events, in order and all of them.
    pub(super) async fn deliver(&self, events: &[CloudEvent]) -> Result<(), NotTaken> {
        match self {
            Self::Webhook { http, url, secret } => {
                for event in events {
                    post(http, url, secret, event).await?;
                }
                Ok(())
            }
            Self::File(path) => {
                let mut lines = Vec::new();
                for event in events {
                    lines.extend_from_slice(&event.body);
                    lines.push(b'\n');
                }
                let (path, name) = (path.clone(), path.display().to_string());
                let written = tokio::task::spawn_blocking(move || file::append(&path, &lines)).await;
                let error = match written {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => format!("{name}: {error}"),
                    Err(error) => format!("{name}: {error}"),
                };
                Err(NotTaken { fault: Fault::Endpoint, reason: error, after: None })
            }
        }
    }
}

async fn post(http: &reqwest::Client, url: &Url, secret: &WebhookSecret, event: &CloudEvent) -> Result<(), NotTaken> {
    // The time of this attempt: a receiver refuses what is old.
    let timestamp = unix_seconds(SystemTime::now());
    let id = HeaderValue::from_bytes(event.id.as_bytes()).map_err(|_| NotTaken {
        fault: Fault::Event,
        reason: "its id can't be a header".into(),
        after: None,
    })?;
    let request = http
        .post(url.clone())
        .header(CONTENT_TYPE, "application/cloudevents+json")
        .header(ID_HEADER, id)
        .header(TIMESTAMP_HEADER, timestamp)
        .header(SIGNATURE_HEADER, secret.sign(&event.id, timestamp, &event.body))
        .body(event.body.clone());
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(refused(&answer)),
        Err(error) => Err(unanswered(&error)),
    }
}

fn refused(answer: &Response) -> NotTaken {
    let status = answer.status();
    let gone = (status == StatusCode::GONE).then_some(GONE);
    let fault = match status {
        // Said by, or for, an endpoint that takes nothing at present.
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::GONE
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Fault::Endpoint,
        // About the way there, or an accident over there: nobody can tell whether this event has to do with it.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT => {
            Fault::Unclear
        }
        status if status.is_client_error() => Fault::Event,
        _ => Fault::Unclear,
    };
    NotTaken { fault, reason: format!("HTTP {status}"), after: retry_after(answer).or(gone) }
}

/// Without the URL: some carry a secret in their path.
fn unanswered(error: &reqwest::Error) -> NotTaken {
    let (fault, what) = if error.is_connect() {
        (Fault::Endpoint, "could not connect")
    } else if error.is_timeout() {
        (Fault::Unclear, "no answer in time")
    } else {
        (Fault::Unclear, "the connection was lost")
    };
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let reason = causes.last().map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"));
    NotTaken { fault, reason, after: None }
}

/// Seconds, or a date.
fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}
