//! JSON in which no name stands twice: of two amounts, nobody could say which was meant.

use std::{cell::RefCell, fmt};

use backstop_domain::InvalidInput;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads a whole text.
///
/// # Errors
/// Names the field that stands twice; or says what is wrong with the text as a whole.
pub(crate) fn read(text: &[u8]) -> Result<Value, InvalidInput> {
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Once { path: String::new(), twice: &twice }.deserialize(&mut reader);
    match read.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(match twice.take() {
            Some(field) => InvalidInput::new(field, "this name once"),
            None => InvalidInput::new("input", format!("one JSON object, got unreadable JSON: {error}")),
        }),
    }
}

/// Reads the value at a path, and remembers the path that it has met twice.
struct Once<'a> {
    path: String,
    twice: &'a RefCell<Option<String>>,
}

impl Once<'_> {
    fn below(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { path, twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(&list.len().to_string()))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let field = self.below(&name);
            if map.contains_key(&name) {
                self.twice.replace(Some(field.path));
                return Err(A::Error::custom("a name stands twice"));
            }
            map.insert(name, fields.next_value_seed(field)?);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::read;

    #[test]
    fn what_stands_twice_is_named_wherever_it_is() {
        for (text, field) in [
            (r#"{"amount": "1", "asset_id": "BTC", "amount": "100"}"#, "amount"),
            (r#"{"shares": {"alice": "1", "bob": "1", "alice": "1"}}"#, "shares.alice"),
            (r#"{"shares": {}, "shares": {}}"#, "shares"),
            (r#"[0, {"a": {"b": null, "b": null}}]"#, "1.a.b"),
            (r#"{"a": 1,}"#, "input"),
            (r#"{"a": 1} {"a": 1}"#, "input"),
            ("", "input"),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err().field, field, "{text}");
        }
    }

    #[test]
    fn everything_else_is_read_as_it_is() {
        let text = r#"{"a": [null, true, 1, -1, 1.5, "é\n", {}, []], "b": {"a": 18446744073709551615}, " ": 1e3}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
