//! Answers of the public API before they become HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::weights::Weights;

const JSON: &str = "application/json;charset=UTF-8";
const HTML: &str = "text/html";

/// What to send, and what to note in the request log.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: String,
    content_type: &'static str,
    retry_after_s: Option<u64>,
    /// The exchange's error code.
    pub(crate) code: Option<i32>,
    /// The withdrawal that was created or found.
    pub(crate) withdrawal_id: Option<String>,
    /// The order that was placed, cancelled or found.
    pub(crate) order_id: Option<u64>,
}

impl Answer {
    /// A success.
    pub(crate) fn ok(body: &Value) -> Self {
        Self::raw(200, body.to_string(), true)
    }

    /// A success that names a withdrawal.
    pub(crate) fn withdrawal(id: &str) -> Self {
        Self { withdrawal_id: Some(id.to_owned()), ..Self::ok(&json!({"id": id})) }
    }

    /// A success about one order.
    pub(crate) fn order(id: u64, body: &Value) -> Self {
        Self { order_id: Some(id), ..Self::ok(body) }
    }

    /// Any status and body.
    pub(crate) fn raw(status: u16, body: String, json: bool) -> Self {
        Self {
            status,
            body,
            content_type: if json { JSON } else { HTML },
            retry_after_s: None,
            code: None,
            withdrawal_id: None,
            order_id: None,
        }
    }

    /// The page a client gets for a path that does not exist.
    pub(crate) fn not_found() -> Self {
        let page = "<html><body><h2>404 Not found</h2></body></html>";
        Self::raw(404, page.to_owned(), false)
    }

    /// Turns the answer into HTTP, with the weight headers every answer carries.
    pub(crate) fn into_http(self, path: &str, used: Weights) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        // The status is checked where it comes in; 500 here would show a gap in those checks.
        *response.status_mut() =
            hyper::StatusCode::from_u16(self.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert("x-mbx-used-weight-1m", HeaderValue::from(used.ip));
        if path.starts_with("/sapi/") {
            headers.insert("x-sapi-used-uid-weight-1m", HeaderValue::from(used.uid));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let body = json!({"code": refusal.code, "msg": refusal.msg});
        Self {
            retry_after_s: refusal.retry_after_s,
            code: Some(refusal.code),
            ..Self::raw(refusal.status, body.to_string(), true)
        }
    }
}
