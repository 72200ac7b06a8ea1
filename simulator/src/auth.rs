//! Who may ask, and until when: API key, signature and receive window.
//!
//! Rules of "Request Security" and "Timing security" in the Spot REST API's general information.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::Millis;
use crate::params::Params;
use crate::refusal::{
    BAD_API_KEY_FORMAT, INVALID_RECV_WINDOW, INVALID_SIGNATURE, INVALID_TIMESTAMP, REJECTED_API_KEY, Refusal,
};

/// The window in which a request is accepted when it names none, in milliseconds.
const DEFAULT_RECV_WINDOW_MS: Millis = 5_000;
/// The longest window a request may name, in milliseconds.
const MAX_RECV_WINDOW_MS: Millis = 60_000;
/// How far a client's clock may be ahead, in milliseconds (exclusive).
const MAX_AHEAD_MS: Millis = 1_000;

/// The one account's credentials.
pub(crate) struct Keys {
    pub(crate) api_key: String,
    pub(crate) secret: String,
}

/// The parts of a request that take part in the checks.
pub(crate) struct Claim<'a> {
    /// The `X-MBX-APIKEY` header.
    pub(crate) api_key: Option<&'a str>,
    /// The query string as sent, without the question mark.
    pub(crate) query: &'a str,
    /// The form body as sent.
    pub(crate) body: &'a str,
}

/// Checks key, signature and window, and hands back the parameters.
///
/// `server_now` is the server's clock at the moment of *execution*: a request that was held back past
/// its window is refused with -1021 even though it arrived in time.
pub(crate) fn authorize(claim: &Claim<'_>, keys: &Keys, server_now: Millis) -> Result<Params, Refusal> {
    check_key(claim.api_key, keys)?;
    let params = Params::parse(claim.query, claim.body)?;
    let timestamp = params.integer("timestamp")?.ok_or_else(|| Refusal::mandatory("timestamp"))?;
    let window = params.integer("recvWindow")?.unwrap_or(DEFAULT_RECV_WINDOW_MS);
    if window > MAX_RECV_WINDOW_MS {
        let msg = "recvWindow must be less than 60000.";
        return Err(Refusal::bad_request(INVALID_RECV_WINDOW, msg));
    }
    check_signature(claim, &keys.secret, params.required("signature")?)?;
    check_window(timestamp, window, server_now)?;
    Ok(params)
}

fn check_key(sent: Option<&str>, keys: &Keys) -> Result<(), Refusal> {
    match sent {
        None | Some("") => {
            let msg = "API-key format invalid.";
            Err(Refusal::bad_request(BAD_API_KEY_FORMAT, msg))
        }
        Some(key) if key == keys.api_key => Ok(()),
        Some(_) => {
            let msg = "Invalid API-key, IP, or permissions for action.";
            Err(Refusal::with_status(401, REJECTED_API_KEY, msg))
        }
    }
}

fn check_signature(claim: &Claim<'_>, secret: &str, signature: &str) -> Result<(), Refusal> {
    let wrong = || {
        let msg = "Signature for this request is not valid.";
        Refusal::bad_request(INVALID_SIGNATURE, msg)
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| wrong())?;
    // The two places are joined without a separator: "totalParams" of the API page.
    mac.update(without_signature(claim.query).as_bytes());
    mac.update(without_signature(claim.body).as_bytes());
    let sent = from_hex(signature).ok_or_else(wrong)?;
    mac.verify_slice(&sent).map_err(|_| wrong())
}

fn check_window(timestamp: Millis, window: Millis, server_now: Millis) -> Result<(), Refusal> {
    if timestamp >= server_now + MAX_AHEAD_MS {
        let msg = "Timestamp for this request was 1000ms ahead of the server's time.";
        return Err(Refusal::bad_request(INVALID_TIMESTAMP, msg));
    }
    if server_now - timestamp > window {
        let msg = "Timestamp for this request is outside of the recvWindow.";
        return Err(Refusal::bad_request(INVALID_TIMESTAMP, msg));
    }
    Ok(())
}

fn without_signature(place: &str) -> String {
    let kept: Vec<&str> = place.split('&').filter(|pair| !pair.starts_with("signature=")).collect();
    kept.join("&")
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::{Claim, Keys, authorize, check_window};
    use crate::refusal::{INVALID_SIGNATURE, INVALID_TIMESTAMP};

    /// Keys, request and signature of the worked example on the Spot API page.
    const KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
    const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    const QUERY: &str = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559";
    const SIGNATURE: &str = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
    const SENT_AT: i64 = 1_499_827_319_559;

    fn ask(query: &str, body: &str) -> Result<(), i32> {
        let keys = Keys { api_key: KEY.to_owned(), secret: SECRET.to_owned() };
        let claim = Claim { api_key: Some(KEY), query, body };
        authorize(&claim, &keys, SENT_AT + 10).map(|_| ()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn accepts_the_documented_example_in_either_place() {
        let signed = format!("{QUERY}&signature={SIGNATURE}");
        assert_eq!(ask(&signed, ""), Ok(()));
        assert_eq!(ask("", &signed), Ok(()));
    }

    #[test]
    fn refuses_a_changed_parameter() {
        let changed = QUERY.replace("quantity=1", "quantity=2");
        let signed = format!("{changed}&signature={SIGNATURE}");
        assert_eq!(ask(&signed, ""), Err(INVALID_SIGNATURE));
        let unreadable = format!("{QUERY}&signature=zz");
        assert_eq!(ask(&unreadable, ""), Err(INVALID_SIGNATURE));
    }

    #[test]
    fn window_edges_are_those_of_the_api_page() {
        let now = 1_000_000;
        assert!(check_window(now - 5000, 5000, now).is_ok());
        assert!(check_window(now + 999, 5000, now).is_ok());
        for outside in [now - 5001, now + 1000] {
            let refusal = check_window(outside, 5000, now).unwrap_err();
            assert_eq!(refusal.code, INVALID_TIMESTAMP);
        }
    }
}
