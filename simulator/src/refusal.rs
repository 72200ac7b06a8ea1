//! Refusals in the exchange's own words: an HTTP status and `{"code":…,"msg":…}`.
//!
//! Codes marked *documented* are listed on the Wallet error page
//! (<https://developers.binance.com/docs/wallet/error-code>) or, where it says so, the Spot one
//! (<https://developers.binance.com/docs/binance-spot-api-docs/errors>); the others are chosen here.

use std::fmt::Display;

/// Documented: an unknown error; the HTTP status says whether the outcome is known.
pub(crate) const UNKNOWN: i32 = -1000;
/// Documented: too many requests.
pub(crate) const TOO_MANY_REQUESTS: i32 = -1003;
/// Documented: the backend did not answer in time; the outcome is unknown.
pub(crate) const TIMEOUT: i32 = -1007;
/// Documented: the timestamp is outside the receive window, or ahead of the server.
pub(crate) const INVALID_TIMESTAMP: i32 = -1021;
/// Documented: the signature does not match.
pub(crate) const INVALID_SIGNATURE: i32 = -1022;
/// Documented: a parameter has characters outside its legal range.
pub(crate) const ILLEGAL_CHARS: i32 = -1100;
/// Documented: a parameter was sent twice.
pub(crate) const TOO_MANY_PARAMETERS: i32 = -1101;
/// Documented: a parameter was sent that the endpoint does not read.
pub(crate) const UNREAD_PARAMETERS: i32 = -1104;
/// Documented: a mandatory parameter is missing, empty or malformed.
pub(crate) const MANDATORY_PARAM: i32 = -1102;
/// Documented: an optional parameter was sent empty.
pub(crate) const PARAM_EMPTY: i32 = -1105;
/// Documented: a parameter was sent that the others make superfluous.
pub(crate) const PARAM_NOT_REQUIRED: i32 = -1106;
/// Documented: more decimal places than the asset has.
pub(crate) const BAD_PRECISION: i32 = -1111;
/// Documented (Spot): not a `timeInForce`, an order type, a side, a symbol.
pub(crate) const INVALID_TIME_IN_FORCE: i32 = -1115;
pub(crate) const INVALID_ORDER_TYPE: i32 = -1116;
pub(crate) const INVALID_SIDE: i32 = -1117;
pub(crate) const BAD_SYMBOL: i32 = -1121;
/// Documented (Spot): more than 24 hours between the ends of an interval.
pub(crate) const MORE_THAN_A_DAY: i32 = -1127;
/// Documented: optional parameters that do not go together. Used here for lists that are too long.
pub(crate) const OPTIONAL_PARAMS_BAD_COMBO: i32 = -1128;
/// Documented: `recvWindow` above 60000.
pub(crate) const INVALID_RECV_WINDOW: i32 = -1131;
/// Documented (Spot): the order is refused by a filter, or is no order at all.
pub(crate) const INVALID_MESSAGE: i32 = -1013;
/// Documented (Spot): the matching engine refuses the order; the message says why.
pub(crate) const NEW_ORDER_REJECTED: i32 = -2010;
/// Documented (Spot): the order to cancel is not open.
pub(crate) const CANCEL_REJECTED: i32 = -2011;
/// Documented (Spot): the order asked for does not exist.
pub(crate) const NO_SUCH_ORDER: i32 = -2013;
/// Documented: the API key is not of the right form; a missing header counts as such.
pub(crate) const BAD_API_KEY_FORMAT: i32 = -2014;
/// Documented: the API key is not known.
pub(crate) const REJECTED_API_KEY: i32 = -2015;
/// Documented: the address tag is not valid for the network.
pub(crate) const BAD_ADDRESS_TAG: i32 = -4008;
/// Documented: the coin is not known.
pub(crate) const UNKNOWN_ASSET: i32 = -4018;
/// Documented: the coin, or here also its network, is not open for withdrawal.
pub(crate) const WITHDRAW_DISABLED: i32 = -4019;
/// Documented: the amount is not a multiple of the network's unit.
pub(crate) const NOT_A_MULTIPLE: i32 = -4021;
/// Documented: the amount is below the network's minimum.
pub(crate) const BELOW_MINIMUM: i32 = -4022;
/// Documented as the daily maximum; used here for the maximum of one withdrawal.
pub(crate) const ABOVE_MAXIMUM: i32 = -4023;
/// Documented: the balance does not cover the amount.
pub(crate) const INSUFFICIENT_BALANCE: i32 = -4026;
/// Documented: the address is not valid for the network.
pub(crate) const ILLEGAL_ADDRESS: i32 = -4033;
/// Documented: the interval of a history query is too long.
pub(crate) const DATE_INTERVAL: i32 = -4047;
/// Chosen here, as no documented code says it: the `withdrawOrderId` was used before.
pub(crate) const DUPLICATE_ORDER_ID: i32 = -4105;

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status of the answer.
    pub(crate) status: u16,
    /// The exchange's error code.
    pub(crate) code: i32,
    /// Words for a person.
    pub(crate) msg: String,
    /// Seconds for the `Retry-After` header.
    pub(crate) retry_after_s: Option<u64>,
}

impl Refusal {
    /// A refusal with HTTP status 400, the status of nearly all of them.
    pub(crate) fn bad_request(code: i32, msg: impl Display) -> Self {
        Self::with_status(400, code, msg)
    }

    /// A refusal with a status of its own.
    pub(crate) fn with_status(status: u16, code: i32, msg: impl Display) -> Self {
        Self { status, code, msg: msg.to_string(), retry_after_s: None }
    }

    /// A mandatory parameter that is missing, empty or malformed.
    pub(crate) fn mandatory(name: &str) -> Self {
        let msg = format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed.");
        Self::bad_request(MANDATORY_PARAM, msg)
    }

    /// A parameter with characters outside its legal range.
    pub(crate) fn illegal_chars(name: &str, legal: &str) -> Self {
        let msg = format!("Illegal characters found in parameter '{name}'; legal range is '{legal}'.");
        Self::bad_request(ILLEGAL_CHARS, msg)
    }

    /// HTTP 429: slow down.
    pub(crate) fn rate_limited(retry_after_s: u64) -> Self {
        let msg = "Too many requests; please slow down.";
        Self { retry_after_s: Some(retry_after_s), ..Self::with_status(429, TOO_MANY_REQUESTS, msg) }
    }

    /// HTTP 418: the address is banned for a while.
    pub(crate) fn banned(retry_after_s: u64, until_ms: i64) -> Self {
        let msg = format!("Way too much request weight used; IP banned until {until_ms}.");
        Self { retry_after_s: Some(retry_after_s), ..Self::with_status(418, TOO_MANY_REQUESTS, msg) }
    }
}
