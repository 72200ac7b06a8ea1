//! Request parameters, from the query string and the form body.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::refusal::{BAD_PRECISION, PARAM_EMPTY, Refusal, TOO_MANY_PARAMETERS, UNREAD_PARAMETERS};

/// What the API pages give as the legal range of whole numbers.
const INTEGER_RANGE: &str = "^[0-9]{1,18}$";
/// The same for amounts.
const AMOUNT_RANGE: &str = "^([0-9]{1,20})(\\.[0-9]{1,20})?$";
/// Decimal places of every asset in the world.
const ASSET_SCALE: u32 = 8;
/// Parameters every signed request may carry.
const COMMON: [&str; 3] = ["recvWindow", "timestamp", "signature"];

/// Parameters by name. One sent in both places has the value of the query string, as the Spot API's
/// "General Information on Endpoints" rules.
#[derive(Debug, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads both places; a name sent twice in one place is refused (-1101).
    pub(crate) fn parse(query: &str, body: &str) -> Result<Self, Refusal> {
        let mut values = one_place(body)?;
        values.extend(one_place(query)?);
        Ok(Self(values))
    }

    /// An optional parameter; present but empty is refused (-1105).
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(name).map(String::as_str) {
            Some("") => Err(Refusal::bad_request(PARAM_EMPTY, format!("Parameter '{name}' was empty."))),
            other => Ok(other),
        }
    }

    /// A mandatory parameter; missing or empty is refused (-1102).
    pub(crate) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(|| Refusal::mandatory(name))
    }

    /// An optional decimal (-1100, -1111).
    pub(crate) fn decimal(&self, name: &str) -> Result<Option<Decimal>, Refusal> {
        self.text(name)?.map(|text| decimal(name, text)).transpose()
    }

    /// Refuses parameters that an endpoint does not know (-1104).
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let read = self.0.keys().filter(|name| [known, &COMMON[..]].concat().contains(&name.as_str())).count();
        let sent = self.0.len();
        if read == sent {
            return Ok(());
        }
        let msg = format!("Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.");
        Err(Refusal::bad_request(UNREAD_PARAMETERS, msg))
    }

    /// An optional whole number; anything but digits is refused (-1100).
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let digits = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.map(Some).ok_or_else(|| Refusal::illegal_chars(name, INTEGER_RANGE))
    }
}

/// Reads a decimal: digits with an optional fraction, not more decimal places than any asset has (-1111).
pub(crate) fn decimal(name: &str, text: &str) -> Result<Decimal, Refusal> {
    let illegal = || Refusal::illegal_chars(name, AMOUNT_RANGE);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| (1..=20).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(illegal());
    }
    let value = Decimal::from_str_exact(text).map_err(|_| illegal())?;
    if value.normalize().scale() > ASSET_SCALE {
        let msg = "Precision is over the maximum defined for this asset.";
        return Err(Refusal::bad_request(BAD_PRECISION, msg));
    }
    Ok(value)
}

/// Reads one parameter without judging the rest, for matching faults and for the request log.
pub(crate) fn peek(query: &str, body: &str, name: &str) -> Option<String> {
    [query, body]
        .into_iter()
        .flat_map(|place| form_urlencoded::parse(place.as_bytes()))
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn one_place(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let mut values = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if values.insert(name.into_owned(), value.into_owned()).is_some() {
            let msg = "Duplicate values for a parameter detected.";
            return Err(Refusal::bad_request(TOO_MANY_PARAMETERS, msg));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::{Params, peek};
    use crate::refusal::{ILLEGAL_CHARS, PARAM_EMPTY, TOO_MANY_PARAMETERS};

    #[test]
    fn query_string_wins_over_body() {
        let params = Params::parse("coin=BTC", "coin=ETH&amount=1%2E5").unwrap();
        assert_eq!(params.required("coin").unwrap(), "BTC");
        assert_eq!(params.required("amount").unwrap(), "1.5");
    }

    #[test]
    fn refuses_duplicates_empties_and_letters() {
        let twice = Params::parse("a=1&a=2", "").unwrap_err();
        assert_eq!(twice.code, TOO_MANY_PARAMETERS);
        let params = Params::parse("limit=ten&coin=", "").unwrap();
        assert_eq!(params.integer("limit").unwrap_err().code, ILLEGAL_CHARS);
        assert_eq!(params.text("coin").unwrap_err().code, PARAM_EMPTY);
    }

    #[test]
    fn peeks_into_both_places() {
        let found = peek("x=1", "withdrawOrderId=a%20b", "withdrawOrderId");
        assert_eq!(found.as_deref(), Some("a b"));
        assert_eq!(peek("x=1", "y=2", "z"), None);
    }
}
