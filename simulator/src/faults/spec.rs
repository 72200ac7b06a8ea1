//! Reading the description of a fault, as posted to the admin API.

use serde_json::Value;

use super::{Kind, Twist};
use crate::api::{APPLY_PATH, ORDER_PATH};
use crate::fields::{BadInput, Fields, unexpected};
use crate::model::WithdrawalState;
use crate::refusal::{Refusal, TIMEOUT, UNKNOWN};

/// The faults, by the name the admin API uses.
const NAMES: [&str; 14] = [
    "lose_answer",
    "drop",
    "delay",
    "hold",
    "delay_answer",
    "status",
    "rate_limited",
    "banned",
    "garbage",
    "reject",
    "execute_late",
    "hide",
    "hide_trades",
    "fail_after",
];

/// Faults that change how a request is executed, with the paths and methods they know how to change.
const TWISTS: [(&str, &[(&str, &str)]); 4] = [
    ("execute_late", &[(APPLY_PATH, "POST"), (ORDER_PATH, "POST"), (ORDER_PATH, "DELETE")]),
    ("hide", &RECORDS),
    ("hide_trades", &[(ORDER_PATH, "POST")]),
    ("fail_after", &[(APPLY_PATH, "POST")]),
];
/// Requests that make a record, which may be hidden.
const RECORDS: [(&str, &str); 2] = [(APPLY_PATH, "POST"), (ORDER_PATH, "POST")];
/// Methods a rule may be meant for.
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// Seconds a client is told to wait when the rule names none.
const RETRY_AFTER_S: i64 = 1;

/// A fault and the requests it is meant for.
pub(crate) struct Spec {
    pub(super) path: String,
    /// `None` is any.
    pub(super) method: Option<&'static str>,
    pub(super) client_id: Option<String>,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) times: Option<u64>,
    pub(super) probability: f64,
    pub(super) seed: u64,
    /// The rule as it was posted, for the listing.
    pub(super) as_sent: Value,
}

impl Spec {
    /// Reads a rule; the error names the field and what was expected.
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadInput> {
        let mut fields = Fields::from_body(body)?;
        let path = fields.required_text("path")?;
        if !path.starts_with('/') && path != super::ANY_PATH {
            let expected = format!("expected a path such as \"{APPLY_PATH}\", or \"*\" for all");
            return Err(BadInput::new("path", expected));
        }
        let name = read_name(&fields.required_text("fault")?)?;
        let mut target = Target { path: &path, method: read_method(&mut fields)? };
        if let Some((_, works_on)) = TWISTS.iter().find(|(twist, _)| *twist == name) {
            target.narrow("path", works_on)?;
        }
        let (times, probability, seed) = read_budget(&mut fields)?;
        let mut spec = Self {
            method: None,
            path: String::new(),
            client_id: fields.text("client_id")?,
            name,
            kind: read_kind(name, &mut target, &mut fields)?,
            times,
            probability,
            seed,
            as_sent: serde_json::from_slice(body).unwrap_or_default(),
        };
        fields.finish()?;
        spec.method = target.method;
        spec.path = path;
        Ok(spec)
    }
}

/// The requests a rule is meant for.
struct Target<'a> {
    path: &'a str,
    method: Option<&'static str>,
}

impl Target<'_> {
    /// Keeps to the requests that something works on; the error names the field that asked for it. Of several methods
    /// of one path the first is meant when the rule names none.
    fn narrow(&mut self, field: &str, works_on: &[(&str, &'static str)]) -> Result<(), BadInput> {
        let fits = |(path, method): &&(&str, &str)| *path == self.path && self.method.is_none_or(|own| own == *method);
        let Some((_, method)) = works_on.iter().find(fits) else {
            let known: Vec<String> = works_on.iter().map(|(path, method)| format!("{method} \"{path}\"")).collect();
            return Err(BadInput::new(field, format!("works on {} only", known.join(", "))));
        };
        self.method = Some(method);
        Ok(())
    }
}

fn read_method(fields: &mut Fields) -> Result<Option<&'static str>, BadInput> {
    let Some(name) = fields.text("method")? else {
        return Ok(None);
    };
    let known = METHODS.iter().copied().find(|known| *known == name);
    let expected = || format!("expected one of {}, got \"{name}\"", METHODS.join(", "));
    known.map(Some).ok_or_else(|| BadInput::new("method", expected()))
}

fn read_name(name: &str) -> Result<&'static str, BadInput> {
    let known = NAMES.iter().copied().find(|known| *known == name);
    known.ok_or_else(|| {
        let expected = format!("expected one of {}, got \"{name}\"", NAMES.join(", "));
        BadInput::new("fault", expected)
    })
}

/// `times`, `probability`, `seed`. A rule that names neither of the first two strikes once.
fn read_budget(fields: &mut Fields) -> Result<(Option<u64>, f64, u64), BadInput> {
    let times = fields.number("times", 1, i64::from(u32::MAX))?.map(i64::unsigned_abs);
    let seed = fields.number("seed", 0, i64::MAX)?.unwrap_or_default();
    let Some(value) = fields.any("probability") else {
        return Ok((times.or(Some(1)), 1.0, seed.unsigned_abs()));
    };
    let probability = value.as_f64().filter(|chance| (0.0..=1.0).contains(chance));
    let probability = probability.ok_or_else(|| unexpected("probability", "a number from 0 to 1", &value))?;
    Ok((times, probability, seed.unsigned_abs()))
}

fn read_kind(name: &str, target: &mut Target<'_>, fields: &mut Fields) -> Result<Kind, BadInput> {
    Ok(match name {
        "lose_answer" => Kind::LoseAnswer { twist: read_hiding(target, fields)? },
        "drop" => Kind::Drop,
        "delay" => Kind::Delay { ms: fields.required_millis("ms")? },
        "hold" => Kind::Hold { ms: fields.millis("ms")? },
        "delay_answer" => Kind::DelayAnswer { ms: fields.required_millis("ms")? },
        "status" => read_status(target, fields)?,
        "rate_limited" => Kind::Refuse { refusal: Refusal::rate_limited(read_retry_after(fields)?) },
        "banned" => {
            let seconds = read_retry_after(fields)?;
            let until_ms = crate::clock::wall_ms() + seconds.cast_signed() * 1000;
            Kind::Refuse { refusal: Refusal::banned(seconds, until_ms) }
        }
        "garbage" => Kind::Garbage { execute: read_execute(target, fields)? },
        "reject" => read_reject(fields)?,
        "execute_late" => read_late(fields)?,
        "hide" => {
            Kind::Twisted { twist: Twist { hide_ms: fields.required_millis("ms")?, ..Twist::default() }, lost: false }
        }
        "hide_trades" => {
            let hide_trades_ms = fields.required_millis("ms")?;
            Kind::Twisted { twist: Twist { hide_trades_ms, ..Twist::default() }, lost: false }
        }
        _ => read_ending(fields)?,
    })
}

fn read_retry_after(fields: &mut Fields) -> Result<u64, BadInput> {
    let seconds = fields.number("retry_after_s", 0, 1_000_000)?;
    Ok(seconds.unwrap_or(RETRY_AFTER_S).unsigned_abs())
}

fn read_hiding(target: &mut Target<'_>, fields: &mut Fields) -> Result<Twist, BadInput> {
    let hide_ms = fields.millis("hide_ms")?;
    if hide_ms.is_some() {
        target.narrow("hide_ms", &RECORDS)?;
    }
    Ok(Twist { hide_ms: hide_ms.unwrap_or_default(), ..Twist::default() })
}

fn read_execute(target: &mut Target<'_>, fields: &mut Fields) -> Result<Option<Twist>, BadInput> {
    let execute = fields.flag("execute")?;
    let twist = read_hiding(target, fields)?;
    if twist.hide_ms > 0 && !execute {
        let expected = "expected together with \"execute\": true";
        return Err(BadInput::new("hide_ms", expected));
    }
    Ok(execute.then_some(twist))
}

fn read_status(target: &mut Target<'_>, fields: &mut Fields) -> Result<Kind, BadInput> {
    let missing = "expected an HTTP status from 200 to 599, but it is missing";
    let status = fields
        .number("status", 200, 599)?
        .and_then(|status| u16::try_from(status).ok())
        .ok_or_else(|| BadInput::new("status", missing))?;
    let (body, json) = match fields.any("body") {
        None => (status_body(status), true),
        Some(Value::String(text)) => (text, false),
        Some(value) => (value.to_string(), true),
    };
    Ok(Kind::Status { status, body, json, execute: read_execute(target, fields)? })
}

/// What the exchange says with such a status, as far as its pages tell.
fn status_body(status: u16) -> String {
    let (code, msg) = if status == 504 {
        let msg = "Timeout waiting for response from backend server. \
                   Send status unknown; execution status unknown.";
        (TIMEOUT, msg)
    } else {
        let msg = "Unknown error, please check your request or try again later.";
        (UNKNOWN, msg)
    };
    serde_json::json!({"code": code, "msg": msg}).to_string()
}

fn read_reject(fields: &mut Fields) -> Result<Kind, BadInput> {
    let missing = "expected the exchange's error code, a negative number, but it is missing";
    let code = fields
        .number("code", -99_999, -1)?
        .and_then(|code| i32::try_from(code).ok())
        .ok_or_else(|| BadInput::new("code", missing))?;
    let status = fields.number("http_status", 400, 599)?.unwrap_or(400);
    let status = u16::try_from(status).unwrap_or(400);
    let msg = fields.text("msg")?;
    let msg = msg.unwrap_or_else(|| "The request was rejected.".to_owned());
    Ok(Kind::Refuse { refusal: Refusal::with_status(status, code, msg) })
}

fn read_late(fields: &mut Fields) -> Result<Kind, BadInput> {
    let lost = match fields.text("answer")?.as_deref() {
        None | Some("lost") => true,
        Some("normal") => false,
        Some(other) => {
            let expected = format!("expected \"lost\" or \"normal\", got \"{other}\"");
            return Err(BadInput::new("answer", expected));
        }
    };
    let twist = Twist {
        late_ms: fields.required_millis("ms")?,
        hide_ms: fields.millis("hide_ms")?.unwrap_or_default(),
        ..Twist::default()
    };
    Ok(Kind::Twisted { twist, lost })
}

fn read_ending(fields: &mut Fields) -> Result<Kind, BadInput> {
    let name = fields.text("state")?;
    let name = name.unwrap_or_else(|| "failed".to_owned());
    let state = WithdrawalState::from_name(&name).filter(|state| state.returns_money());
    let state = state.ok_or_else(|| {
        let expected = format!("expected failed, rejected or cancelled, got \"{name}\"");
        BadInput::new("state", expected)
    })?;
    let info = fields.text("info")?.unwrap_or_default();
    let ms = fields.required_millis("ms")?;
    Ok(Kind::Twisted { twist: Twist { ending: Some((ms, state, info)), ..Twist::default() }, lost: false })
}

#[cfg(test)]
mod tests {
    use super::Spec;

    fn error(rule: &str) -> String {
        Spec::read(rule.as_bytes()).err().map(|bad| bad.0).unwrap_or_default()
    }

    #[test]
    fn names_what_is_wrong_with_a_rule() {
        let cases = [
            (r#"{"fault":"drop"}"#, "\"path\""),
            (r#"{"path":"/x","fault":"explode"}"#, "\"fault\""),
            (r#"{"path":"/x","fault":"delay"}"#, "\"ms\""),
            (r#"{"path":"/x","fault":"hide","ms":5}"#, "\"path\""),
            (r#"{"path":"/x","fault":"lose_answer","hide_ms":5}"#, "\"hide_ms\""),
            (r#"{"path":"/x","fault":"drop","probability":3}"#, "\"probability\""),
            (r#"{"path":"/x","fault":"drop","times":0}"#, "\"times\""),
            (r#"{"path":"/x","fault":"drop","oops":0}"#, "\"oops\""),
            (r#"{"path":"/x","fault":"status","status":99}"#, "\"status\""),
            (r#"{"path":"/x","fault":"reject"}"#, "\"code\""),
        ];
        for (rule, field) in cases {
            let said = error(rule);
            assert!(said.contains(field), "{rule}: {said}");
        }
    }
}
