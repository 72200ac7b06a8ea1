//! A strategy that is run: what it is started with, what people say to it, and what its ticks come to.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{BusinessId, Fields, InvalidInput, Pair, market_making::Parameters};

/// The input of the `RunStrategy` workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Names this start of the strategy. Repeated, it changes nothing; after a stop, a new one starts the strategy again.
    pub start_id: BusinessId,
    /// Which strategy.
    pub strategy_key: BusinessId,
    /// Whose money it trades with.
    pub user_id: BusinessId,
    /// Where it trades.
    pub venue: BusinessId,
    /// What it trades.
    pub pair: Pair,
    /// How it makes its market.
    pub parameters: Parameters,
    /// Who starts it.
    pub requested_by: BusinessId,
    /// From one tick to the next.
    pub tick: Duration,
    /// The ticks so far, where a run goes on that was cut off for its history's sake.
    pub before: Ticks,
    /// The input as it was given.
    pub input: Value,
}

const TICK_MS_DEFAULT: u64 = 5_000;
/// The intents of a strategy's ticks are named after it, and names have 128 bytes.
const STRATEGY_KEY_BYTES_MAX: usize = 100;
/// Where the ticks so far stand in the input of a run that goes on.
const BEFORE: &str = "ticks_before";

impl RunRequest {
    /// Reads the workflow's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(mut input: Value) -> Result<Self, InvalidInput> {
        let before = input.as_object_mut().and_then(|fields| fields.remove(BEFORE)).unwrap_or_else(|| json!({}));
        let mut fields = Fields::of(input.clone())?;
        let request = Self {
            start_id: fields.id("start_id")?,
            strategy_key: strategy_key(&mut fields)?,
            user_id: fields.user("user_id")?,
            venue: fields.id("venue")?,
            pair: fields.text("pair")?,
            parameters: Parameters::read_fields(fields.object("parameters")?)?,
            requested_by: fields.id("requested_by")?,
            tick: Duration::from_millis(fields.optional_number("tick_ms", 250..=3_600_000)?.unwrap_or(TICK_MS_DEFAULT)),
            before: serde_json::from_value(before)
                .map_err(|error| InvalidInput::new(BEFORE, format!("what a run leaves to the next ({error})")))?,
            input,
        };
        fields.finish()?;
        Ok(request)
    }

    /// What makes two starts with one id the same start.
    pub fn content(&self) -> Value {
        json!({
            "strategy_key": self.strategy_key,
            "user_id": self.user_id,
            "venue": self.venue,
            "pair": self.pair,
            "parameters": self.parameters,
            "requested_by": self.requested_by,
            "tick_ms": u64::try_from(self.tick.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The input of the run that goes on after so many ticks.
    pub fn continued(&self, ticks: &Ticks) -> Value {
        let mut input = self.input.clone();
        input[BEFORE] = json!(ticks);
        input
    }
}

fn strategy_key(fields: &mut Fields) -> Result<BusinessId, InvalidInput> {
    let key = fields.id("strategy_key")?;
    if key.as_str().len() > STRATEGY_KEY_BYTES_MAX {
        return Err(InvalidInput::new("strategy_key", format!("a string of 1 to {STRATEGY_KEY_BYTES_MAX} bytes")));
    }
    Ok(key)
}

/// The ticks of a strategy. The grid is fixed: tick n begins at n times its length since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ticks {
    /// How many were run.
    pub run: u64,
    /// How many were skipped because the one before still ran, or nobody was there to run them.
    pub missed: u64,
    /// The last one's place on the grid.
    pub last: Option<u64>,
    /// Since when it only withdraws its quotes, and who said so.
    pub paused: Option<Word>,
    /// The intents that it has asked for and the books have not seen yet: until then it asks for no others.
    pub asked: Vec<Asked>,
}

/// An intent that a tick has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When, ms since 1970.
    pub at_ms: u64,
    /// The input of its `ExecuteIntent`.
    pub intent: Value,
}

impl Asked {
    /// The intent's id.
    pub fn id(&self) -> &str {
        self.intent["intent_id"].as_str().unwrap_or_default()
    }

    /// Whether it has been waited for long enough.
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        u128::from(now_ms.saturating_sub(self.at_ms)) > BEGINS_WITHIN.as_millis()
    }
}

/// So long an intent may take to begin: longer than it takes to notice that a worker died with its first step. Then it is
/// called off in the books, and never begins.
const BEGINS_WITHIN: Duration = Duration::from_secs(15);

impl Ticks {
    /// The place on the grid of the tick after this moment, ms since 1970, and when it begins. Never one that was run.
    pub fn next(&self, now_ms: u64, tick: Duration) -> (u64, u64) {
        let length = u64::try_from(tick.as_millis()).unwrap_or(u64::MAX).max(1);
        let place = (now_ms / length + 1).max(self.last.map_or(0, |last| last + 1));
        (place, place.saturating_mul(length))
    }

    /// Takes down that the tick at this place is run now.
    pub fn begin(&mut self, place: u64) {
        self.run += 1;
        self.missed += self.last.map_or(0, |last| place.saturating_sub(last + 1));
        self.last = Some(place);
    }

    /// Takes down which of the intents that were asked for have still not begun.
    pub fn wait_for(&mut self, unseen: &[String]) {
        self.asked.retain(|asked| unseen.iter().any(|id| id == asked.id()));
    }
}

/// What somebody says to a running strategy: who, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who says so.
    pub operator: BusinessId,
    /// Why.
    pub reason: BusinessId,
}

impl Word {
    /// Reads an update's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input)?;
        let word = Self { operator: fields.id("operator")?, reason: fields.id("reason")? };
        fields.finish()?;
        Ok(word)
    }
}

/// What a component of a tick came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Whether the strategy runs, as the books have it.
    pub running: bool,
    /// Why it was not done, if it was not: something that it needs is not healthy.
    pub skipped: Option<String>,
    /// What was done, in words.
    pub said: String,
    /// Intents of earlier ticks that have not begun.
    #[serde(default)]
    pub unseen: Vec<String>,
    /// Inputs of `ExecuteIntent` that it leads to.
    pub intents: Vec<Value>,
}

/// How a run of a strategy ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// Which strategy.
    pub strategy_key: BusinessId,
    /// Its ticks.
    pub ticks: Ticks,
    /// Why it ended, and what it left.
    pub ended: String,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::{Asked, RunRequest, Ticks};

    const TICK: Duration = Duration::from_millis(1_000);

    #[test]
    fn ticks_keep_to_the_grid_and_missed_ones_are_counted() {
        let mut ticks = Ticks::default();
        assert_eq!(ticks.next(10_400, TICK), (11, 11_000));
        ticks.begin(11);
        // The tick took long: 12 and 13 are gone.
        assert_eq!(ticks.next(13_700, TICK), (14, 14_000));
        ticks.begin(14);
        assert_eq!((ticks.run, ticks.missed), (2, 2));
        // A clock that was set back runs no tick again.
        assert_eq!(ticks.next(9_000, TICK), (15, 15_000));
    }

    #[test]
    fn what_was_asked_for_is_waited_for_but_not_for_ever() {
        let asked = |id: &str, at_ms| Asked { at_ms, intent: json!({"intent_id": id}) };
        let mut ticks = Ticks { asked: vec![asked("i-1", 1_000), asked("i-2", 2_000)], ..Ticks::default() };
        ticks.wait_for(&["i-2".to_owned()]);
        assert_eq!(ticks.asked, [asked("i-2", 2_000)]);
        assert!(!ticks.asked[0].is_overdue(17_000) && ticks.asked[0].is_overdue(17_001));
    }

    proptest! {
        #[test]
        fn every_place_on_the_grid_is_run_or_missed_once(steps in prop::collection::vec(0_u64..5_000, 1..50)) {
            let (mut ticks, mut now, mut first) = (Ticks::default(), 1_000_000, None);
            for step in steps {
                let (place, at) = ticks.next(now, TICK);
                prop_assert!(at > now || ticks.last.is_some_and(|last| place == last + 1));
                prop_assert!(ticks.last.is_none_or(|last| place > last));
                ticks.begin(place);
                first.get_or_insert(place);
                prop_assert_eq!(ticks.run + ticks.missed, place - first.unwrap() + 1);
                now = at.max(now) + step;
            }
        }
    }

    #[test]
    fn a_run_that_goes_on_reads_back_what_it_left() {
        let input = json!({
            "start_id": "s-1", "strategy_key": "mm", "user_id": "alice", "venue": "binance", "pair": "BTC/USDT",
            "parameters": {"spread_bps": 20, "order_size": "0.01", "layers": 2, "layer_step_bps": 10,
                           "refresh_tolerance_bps": 5},
            "requested_by": "rita", "tick_ms": 1000,
        });
        let request = RunRequest::read(input.clone()).unwrap();
        let asked = vec![Asked { at_ms: 99_000, intent: json!({"intent_id": "mm/99/0"}) }];
        let ticks = Ticks { run: 7, missed: 2, last: Some(99), paused: None, asked };
        let next = RunRequest::read(request.continued(&ticks)).unwrap();
        assert_eq!(next.before, ticks);
        assert_eq!((&next.input, next.content()), (&input, request.content()));
    }

    #[test]
    fn wrong_input_is_named() {
        let good = json!({
            "start_id": "s-1", "strategy_key": "mm", "user_id": "alice", "venue": "binance", "pair": "BTC/USDT",
            "parameters": {"spread_bps": 20, "order_size": "0.01", "layers": 2, "layer_step_bps": 10,
                           "refresh_tolerance_bps": 5},
            "requested_by": "rita",
        });
        for (field, value, named) in [
            ("pair", json!("BTCUSDT"), "pair"),
            ("parameters", json!({"spread_bps": 20}), "parameters.order_size"),
            ("tick_ms", json!(1), "tick_ms"),
            ("start_id", json!(null), "start_id"),
            ("strategy_key", json!("k".repeat(101)), "strategy_key"),
            ("ticks_before", json!(3), "ticks_before"),
            ("surplus", json!(1), "surplus"),
        ] {
            let mut input = good.clone();
            input[field] = value;
            assert_eq!(RunRequest::read(input).unwrap_err().field, named);
        }
    }
}
