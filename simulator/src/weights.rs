//! Request weights, as reported in the `X-MBX-USED-WEIGHT-1M` family of headers.

use crate::clock::Millis;

/// Weight used in the running minute.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Weights {
    minute: i64,
    /// By address; every request counts.
    pub(crate) ip: u64,
    /// By account; requests under `/sapi` count.
    pub(crate) uid: u64,
}

impl Weights {
    /// Counts a request and says what is used up since the minute began.
    pub(crate) fn charge(&mut self, method: &str, path: &str, now: Millis) -> Self {
        let minute = now / 60_000;
        if minute != self.minute {
            *self = Self { minute, ..Self::default() };
        }
        let (ip, uid) = weight_of(method, path);
        self.ip += ip;
        self.uid += uid;
        *self
    }
}

/// Weights given on the pages of the endpoints, by address and by account. Where parameters change the weight, it is
/// that of a request for one symbol.
fn weight_of(method: &str, path: &str) -> (u64, u64) {
    match path {
        "/api/v3/account" | "/api/v3/exchangeInfo" | "/api/v3/allOrders" | "/api/v3/myTrades" => (20, 0),
        "/api/v3/depth" => (5, 0),
        "/api/v3/ticker/bookTicker" | "/api/v3/ticker/price" => (2, 0),
        "/api/v3/openOrders" => (6, 0),
        "/api/v3/order" if method == "GET" => (4, 0),
        "/sapi/v1/capital/config/getall" => (10, 0),
        "/sapi/v1/capital/withdraw/apply" => (1, 900),
        "/sapi/v1/capital/withdraw/history" => (1, 18_000),
        _ => (1, 0),
    }
}
