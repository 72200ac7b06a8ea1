//! Faults on demand: rules that decide which request meets which fault.

mod spec;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::clock::Millis;
use crate::model::WithdrawalState;
use crate::refusal::Refusal;

pub(crate) use spec::Spec;

/// Matches requests of every path.
const ANY_PATH: &str = "*";

/// What is done to a request. Durations are in milliseconds.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Executes, then closes the connection without a byte of an answer.
    LoseAnswer { twist: Twist },
    /// Closes the connection; nothing is executed.
    Drop,
    /// Waits before executing, then answers; a client that goes away does not stop it.
    Delay { ms: Millis },
    /// Waits until the rule is deleted or the time is over, then executes and answers.
    Hold { ms: Option<Millis> },
    /// Executes, then waits before answering.
    DelayAnswer { ms: Millis },
    /// Answers with a status and a body, having executed or not.
    Status { status: u16, body: String, json: bool, execute: Option<Twist> },
    /// Answers 200 with a body no client can read, having executed or not.
    Garbage { execute: Option<Twist> },
    /// Answers with an error in the exchange's form; nothing is executed.
    Refuse { refusal: Refusal },
    /// Executes in a changed way; the connection is closed when `lost`.
    Twisted { twist: Twist, lost: bool },
}

/// How the execution of a withdrawal or an order is changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Twist {
    /// Lookups don't show the record this long after execution.
    pub(crate) hide_ms: Millis,
    /// The list of trades does not show an order's trades this long after they were made.
    pub(crate) hide_trades_ms: Millis,
    /// The request is accepted now, what it asks for is done this much later.
    pub(crate) late_ms: Millis,
    /// The withdrawal ends so, this long after execution.
    pub(crate) ending: Option<(Millis, WithdrawalState, String)>,
}

/// A rule as it stands.
struct Rule {
    id: String,
    spec: Spec,
    /// Hits left; `None` is without end.
    left: Option<u64>,
    random: SmallRng,
    hits: u64,
    held: Arc<AtomicU64>,
    release: watch::Sender<bool>,
}

/// A rule's verdict on one request.
pub(crate) struct Hit {
    pub(crate) fault_id: String,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Becomes true, or closed, when the rule is deleted.
    pub(crate) released: watch::Receiver<bool>,
    held: Arc<AtomicU64>,
}

/// Counts a request as held for as long as it lives.
pub(crate) struct Held(Arc<AtomicU64>);

impl Hit {
    /// Shows the request as held in the rule's listing.
    pub(crate) fn hold(&self) -> Held {
        self.held.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(&self.held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rules, in order of creation.
#[derive(Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    created: u64,
}

impl Faults {
    /// Adds a rule and says its id.
    pub(crate) fn add(&mut self, spec: Spec) -> String {
        self.created += 1;
        let id = format!("f{}", self.created);
        self.rules.push(Rule {
            id: id.clone(),
            left: spec.times,
            random: SmallRng::seed_from_u64(spec.seed),
            spec,
            hits: 0,
            held: Arc::default(),
            release: watch::Sender::new(false),
        });
        id
    }

    /// The first rule that fits the request, has budget left and, by its chance, strikes.
    pub(crate) fn pick(&mut self, method: &str, path: &str, client_id: Option<&str>) -> Option<Hit> {
        self.rules.iter_mut().filter(|rule| rule.fits(method, path, client_id)).find_map(Rule::strike)
    }

    /// Deletes a rule and releases what it holds; false when there is none of that id.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let before = self.rules.len();
        // A dropped rule drops its sender, which is what releases the requests it holds.
        self.rules.retain(|rule| rule.id != id);
        self.rules.len() < before
    }

    /// Deletes all rules and releases what they hold; says how many there were.
    pub(crate) fn clear(&mut self) -> usize {
        self.rules.drain(..).count()
    }

    /// The rules for the admin API.
    pub(crate) fn list(&self) -> Vec<Value> {
        self.rules.iter().map(Rule::describe).collect()
    }
}

impl Rule {
    fn fits(&self, method: &str, path: &str, client_id: Option<&str>) -> bool {
        let spec = &self.spec;
        let method_fits = spec.method.is_none_or(|wanted| wanted == method);
        let path_fits = spec.path == ANY_PATH || spec.path == path;
        let client_fits = spec.client_id.is_none() || spec.client_id.as_deref() == client_id;
        method_fits && path_fits && client_fits && self.left != Some(0)
    }

    fn strike(&mut self) -> Option<Hit> {
        if !self.random.random_bool(self.spec.probability) {
            return None;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.hits += 1;
        Some(Hit {
            fault_id: self.id.clone(),
            name: self.spec.name,
            kind: self.spec.kind.clone(),
            released: self.release.subscribe(),
            held: Arc::clone(&self.held),
        })
    }

    fn describe(&self) -> Value {
        json!({
            "fault_id": self.id,
            "fault": self.spec.name,
            "method": self.spec.method,
            "path": self.spec.path,
            "client_id": self.spec.client_id,
            "hits": self.hits,
            "times_left": self.left,
            "held": self.held.load(Ordering::Relaxed),
            "rule": self.spec.as_sent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, Spec};

    const PATH: &str = "/api/v3/time";

    fn add(faults: &mut Faults, rule: &str) -> String {
        faults.add(Spec::read(rule.as_bytes()).unwrap())
    }

    fn picked(faults: &mut Faults, client_id: Option<&str>) -> Option<String> {
        faults.pick("GET", PATH, client_id).map(|hit| hit.fault_id)
    }

    #[test]
    fn the_first_rule_with_budget_strikes() {
        let mut faults = Faults::default();
        let one = r#"{"path":"/api/v3/time","fault":"drop","times":1,"client_id":"a"}"#;
        let first = add(&mut faults, one);
        let second = add(&mut faults, r#"{"path":"*","fault":"banned","times":2}"#);
        assert_eq!(picked(&mut faults, None), Some(second.clone()));
        assert_eq!(picked(&mut faults, Some("a")), Some(first));
        assert_eq!(picked(&mut faults, Some("a")), Some(second));
        assert_eq!(picked(&mut faults, Some("a")), None);
    }

    #[test]
    fn a_seed_makes_chance_repeatable() {
        let draw = |seed: u64| {
            let mut faults = Faults::default();
            let rule = format!(r#"{{"path":"*","fault":"drop","probability":0.3,"seed":{seed}}}"#);
            add(&mut faults, &rule);
            let hits = (0..200).map(|_| picked(&mut faults, None).is_some());
            hits.collect::<Vec<bool>>()
        };
        assert_eq!(draw(42), draw(42));
        assert_ne!(draw(42), draw(43));
        let struck = draw(42).into_iter().filter(|hit| *hit).count();
        assert!((30..90).contains(&struck), "{struck}");
    }
}
