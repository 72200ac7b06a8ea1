//! Reading JSON objects of the admin API field by field, so that a mistake is answered with the name
//! of the field and what was expected.

use std::fmt;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::clock::Millis;

/// Longest duration accepted, in milliseconds: a year.
const LONGEST_MS: Millis = 31_536_000_000;

/// A mistake in a request to the admin API, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadInput(pub(crate) String);

impl BadInput {
    pub(crate) fn new(field: &str, expected: impl fmt::Display) -> Self {
        Self(format!("field \"{field}\": {expected}"))
    }
}

/// The fields of an object that were not taken yet.
pub(crate) struct Fields {
    rest: Map<String, Value>,
}

impl Fields {
    /// Reads a request body.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, BadInput> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(rest)) => Ok(Self { rest }),
            Ok(_) => Err(BadInput("body: expected a JSON object".to_owned())),
            Err(error) => Err(BadInput(format!("body: expected a JSON object: {error}"))),
        }
    }

    /// Takes a field of any type; `null` counts as absent.
    pub(crate) fn any(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, BadInput> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(unexpected(name, "a string", &other)),
        }
    }

    /// Takes a string that must be there.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, BadInput> {
        self.text(name)?.ok_or_else(|| BadInput::new(name, "expected a string, but it is missing"))
    }

    /// Takes a whole number within limits (both included).
    pub(crate) fn number(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>, BadInput> {
        let Some(value) = self.any(name) else {
            return Ok(None);
        };
        let number = value.as_i64().filter(|n| (least..=most).contains(n));
        let expected = || format!("a whole number from {least} to {most}");
        number.map(Some).ok_or_else(|| unexpected(name, &expected(), &value))
    }

    /// Takes a duration in milliseconds.
    pub(crate) fn millis(&mut self, name: &str) -> Result<Option<Millis>, BadInput> {
        self.number(name, 0, LONGEST_MS)
    }

    /// Takes a duration in milliseconds that must be there.
    pub(crate) fn required_millis(&mut self, name: &str) -> Result<Millis, BadInput> {
        let missing = "expected a whole number of milliseconds, but it is missing";
        self.millis(name)?.ok_or_else(|| BadInput::new(name, missing))
    }

    /// Takes a boolean; absent is `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, BadInput> {
        Ok(self.optional_flag(name)?.unwrap_or_default())
    }

    /// Takes a boolean.
    pub(crate) fn optional_flag(&mut self, name: &str) -> Result<Option<bool>, BadInput> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(unexpected(name, "true or false", &other)),
        }
    }

    /// Takes an amount.
    pub(crate) fn optional_amount(&mut self, name: &str) -> Result<Option<Decimal>, BadInput> {
        self.any(name).map(|value| amount(name, &value)).transpose()
    }

    /// Takes an amount that must be there: a decimal in a string, as JSON numbers may lose digits.
    pub(crate) fn required_amount(&mut self, name: &str) -> Result<Decimal, BadInput> {
        let value = self.any(name).unwrap_or_default();
        amount(name, &value)
    }

    /// Refuses what was not taken.
    pub(crate) fn finish(self) -> Result<(), BadInput> {
        match self.rest.keys().next() {
            None => Ok(()),
            Some(name) => Err(BadInput::new(name, "not known here")),
        }
    }
}

/// Reads an amount, zero or more, from a string.
pub(crate) fn amount(name: &str, value: &Value) -> Result<Decimal, BadInput> {
    let text = value.as_str().unwrap_or_default();
    Decimal::from_str_exact(text).ok().filter(|amount| !amount.is_sign_negative()).ok_or_else(|| {
        let expected = "a decimal amount in a string, such as \"0.5\"";
        unexpected(name, expected, value)
    })
}

/// The message for a value of the wrong kind.
pub(crate) fn unexpected(name: &str, expected: &str, got: &Value) -> BadInput {
    BadInput::new(name, format!("expected {expected}, got {got}"))
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn names_the_field_and_what_was_expected() {
        let mut fields = Fields::from_body(br#"{"ms":"soon","amount":1.5,"odd":1}"#).unwrap();
        let ms = fields.millis("ms").unwrap_err().0;
        assert!(ms.starts_with("field \"ms\": expected a whole number"), "{ms}");
        let amount = fields.required_amount("amount").unwrap_err().0;
        assert!(amount.contains("decimal amount in a string"), "{amount}");
        let missing = fields.required_text("coin").unwrap_err().0;
        assert!(missing.contains("\"coin\"") && missing.contains("missing"));
        assert_eq!(fields.finish().unwrap_err().0, "field \"odd\": not known here");
    }
}
