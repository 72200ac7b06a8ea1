use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Amount, BusinessId};

/// The house's own accounts begin with it.
const NOT_OF_THE_HOUSE: &str = "an id that does not begin with '~'";

/// Input that can never work: names the field and says what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: expected {expected}")]
pub struct InvalidInput {
    /// Dotted path of the field, or `input` for the whole.
    pub field: String,
    /// What would have been accepted.
    pub expected: String,
}

impl InvalidInput {
    /// Names the field and what was expected.
    pub fn new(field: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field: field.into(), expected: expected.into() }
    }
}

/// Takes a JSON object apart field by field; what is left at the end is an unknown field.
///
/// Read by hand rather than derived, because every error has to name its field, a missing one too.
#[derive(Debug)]
pub struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Starts on a whole input.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn of(value: Value) -> Result<Self, InvalidInput> {
        Self::at(String::new(), value)
    }

    fn at(path: String, value: Value) -> Result<Self, InvalidInput> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            other => {
                let field = if path.is_empty() { "input".into() } else { path };
                Err(InvalidInput::new(field, format!("a JSON object, got {}", kind_of(&other))))
            }
        }
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.into() } else { format!("{}.{field}", self.path) }
    }

    fn optional(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    fn required(&mut self, field: &str, expected: &str) -> Result<Value, InvalidInput> {
        let name = self.name(field);
        self.optional(field).ok_or_else(|| InvalidInput::new(name, format!("{expected}, but it is missing")))
    }

    /// A required string that `T` accepts.
    ///
    /// # Errors
    /// When it is missing, not a string, or refused by `T`.
    pub fn text<T: TryFrom<String, Error = String>>(&mut self, field: &str) -> Result<T, InvalidInput> {
        let value = self.required(field, "a string")?;
        let name = self.name(field);
        parse_text(name, value)
    }

    /// An optional string that `T` accepts; null counts as absent.
    ///
    /// # Errors
    /// When it is there and not a string, or refused by `T`.
    pub fn optional_text<T: TryFrom<String, Error = String>>(
        &mut self,
        field: &str,
    ) -> Result<Option<T>, InvalidInput> {
        let name = self.name(field);
        self.optional(field).map(|value| parse_text(name, value)).transpose()
    }

    /// A required id.
    ///
    /// # Errors
    /// As [`Fields::text`].
    pub fn id(&mut self, field: &str) -> Result<BusinessId, InvalidInput> {
        self.text(field)
    }

    /// A required id of a user. The house's own begin with '~'.
    ///
    /// # Errors
    /// As [`Fields::text`].
    pub fn user(&mut self, field: &str) -> Result<BusinessId, InvalidInput> {
        let user = self.id(field)?;
        if user.as_str().starts_with('~') {
            return Err(InvalidInput::new(self.name(field), NOT_OF_THE_HOUSE));
        }
        Ok(user)
    }

    /// A required amount, as a decimal string.
    ///
    /// # Errors
    /// As [`Fields::text`].
    pub fn amount(&mut self, field: &str) -> Result<Amount, InvalidInput> {
        self.text(field)
    }

    /// A required whole number within a range.
    ///
    /// # Errors
    /// When it is missing, or not a whole number of the range.
    pub fn number(&mut self, field: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, InvalidInput> {
        let missing = format!("a whole number from {} to {}, but it is missing", range.start(), range.end());
        let name = self.name(field);
        self.optional_number(field, range)?.ok_or_else(|| InvalidInput::new(name, missing))
    }

    /// An optional boolean; absent is false.
    ///
    /// # Errors
    /// When it is there and not a boolean.
    pub fn flag(&mut self, field: &str) -> Result<bool, InvalidInput> {
        match self.optional(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(InvalidInput::new(self.name(field), format!("true or false, got {}", kind_of(&other)))),
        }
    }

    /// An optional list of strings that `T` accepts; absent is empty.
    ///
    /// # Errors
    /// When it is there and not a list of strings, or one is refused by `T`.
    pub fn texts<T: TryFrom<String, Error = String>>(&mut self, field: &str) -> Result<Vec<T>, InvalidInput> {
        let name = self.name(field);
        match self.optional(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.into_iter().map(|value| parse_text(name.clone(), value)).collect(),
            Some(other) => Err(InvalidInput::new(name, format!("a list of strings, got {}", kind_of(&other)))),
        }
    }

    /// An optional whole number within a range.
    ///
    /// # Errors
    /// When it is there and not a whole number of the range.
    pub fn optional_number(
        &mut self,
        field: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, InvalidInput> {
        let Some(value) = self.optional(field) else { return Ok(None) };
        match value.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(InvalidInput::new(
                self.name(field),
                format!("a whole number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// An optional whole number of seconds.
    ///
    /// # Errors
    /// As [`Fields::optional_number`].
    pub fn seconds(&mut self, field: &str, default: u64, max: u64) -> Result<Duration, InvalidInput> {
        Ok(Duration::from_secs(self.optional_number(field, 1..=max)?.unwrap_or(default)))
    }

    /// A required object with names of the caller's choice, each of which leads to an object.
    ///
    /// # Errors
    /// When it is missing, or it or one of its values is not an object.
    pub fn objects(&mut self, field: &str) -> Result<Vec<(String, Self)>, InvalidInput> {
        let Self { path, map } = self.object(field)?;
        map.into_iter().map(|(name, value)| Ok((name.clone(), Self::at(format!("{path}.{name}"), value)?))).collect()
    }

    /// A required object that gives users amounts.
    ///
    /// # Errors
    /// When it is missing or not an object, or a name in it is no user's id, or what stands there is no amount.
    pub fn amounts_of_users(&mut self, field: &str) -> Result<BTreeMap<String, Amount>, InvalidInput> {
        let mut users = self.object(field)?;
        let names: Vec<String> = users.map.keys().cloned().collect();
        let read = |name: String| {
            let wrong = |expected: String| InvalidInput::new(users.name(&name), format!("as a name, {expected}"));
            BusinessId::try_from(name.clone()).map_err(wrong)?;
            if name.starts_with('~') {
                return Err(wrong(NOT_OF_THE_HOUSE.into()));
            }
            let amount = users.amount(&name)?;
            Ok((name, amount))
        };
        names.into_iter().map(read).collect()
    }

    /// A required object, to be taken apart in turn.
    ///
    /// # Errors
    /// When it is missing or not an object.
    pub fn object(&mut self, field: &str) -> Result<Self, InvalidInput> {
        let value = self.required(field, "a JSON object")?;
        Self::at(self.name(field), value)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When a field is left that nobody asked for.
    pub fn finish(self) -> Result<(), InvalidInput> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(InvalidInput::new(self.name(unknown), "no field of this name")),
        }
    }
}

fn parse_text<T: TryFrom<String, Error = String>>(name: String, value: Value) -> Result<T, InvalidInput> {
    match value {
        Value::String(text) => T::try_from(text).map_err(|expected| InvalidInput::new(name, expected)),
        other => Err(InvalidInput::new(name, format!("a string, got {}", kind_of(&other)))),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
