//! Golden runs: what a saga does when nothing is wrong, and when the exchange or a person says no.

use std::sync::Arc;

use serde_json::Value;

use super::{
    cell::Run,
    dice::Dice,
    operation::{Disturbed, Operation},
};
use crate::servers::Own;

/// In which surroundings a saga runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Nothing is wrong.
    Plain,
    /// The exchange refuses it.
    Refused,
    /// It is cancelled at a failpoint.
    Cancelled {
        /// Where.
        at: String,
    },
    /// The exchange takes so long that an operator is called.
    Unconfirmed,
}

impl Variant {
    /// Its name in cells.
    pub fn name(&self) -> String {
        match self {
            Self::Plain => "plain".into(),
            Self::Refused => "refused".into(),
            Self::Cancelled { at } => format!("cancelled-at-{at}"),
            Self::Unconfirmed => "unconfirmed".into(),
        }
    }

    /// What kind of end it leads to.
    pub(super) fn disturbs(&self) -> &'static [Disturbed] {
        match self {
            Self::Plain | Self::Unconfirmed => &[Disturbed::Not],
            Self::Refused => &[Disturbed::Refused],
            Self::Cancelled { .. } => &[Disturbed::Cancelled],
        }
    }
}

/// What the golden runs of a saga have shown.
#[derive(Debug)]
pub struct Golden {
    /// The failpoints of each variant. Of one that is plain up to somewhere, those that are new.
    pub points: Vec<(Variant, String)>,
    /// What it asks of the exchange, and whether that moves money.
    pub paths: Vec<(String, bool)>,
    /// Whether it has to do with the exchange at all.
    pub asks_the_exchange: bool,
    /// Whether it places orders.
    pub places_orders: bool,
    /// Whether it takes signals.
    pub signalled: bool,
    /// The steps of which it is certain that they come before all later ones.
    pub ordered: Vec<String>,
    /// The steps that may be left out.
    pub skippable: Vec<String>,
    /// The steps that have cells elsewhere.
    pub anothers: Vec<String>,
}

impl Golden {
    /// Runs a saga in all variants.
    pub async fn of(operation: &Arc<dyn Operation>, seed: u64) -> Self {
        let plain = run(operation, &Variant::Plain, seed).await;
        let lacks = operation.lacks(&plain.world).await;
        assert!(lacks.is_empty(), "{} without faults shows {lacks:?}", operation.name());
        let paths = paths(&plain.world.exchange.log().await);
        let places_orders = plain.world.passed().iter().any(|step| step == "venue_place.sent");
        let asks_the_exchange = operation.asks_the_exchange();
        assert_eq!(asks_the_exchange, !paths.is_empty(), "what {} asks of the exchange: {paths:?}", operation.name());
        let signalled = !operation.signals(&plain.order).is_empty();
        let mut golden = Self {
            points: Vec::new(),
            paths,
            asks_the_exchange,
            places_orders,
            signalled,
            ordered: Vec::new(),
            skippable: Vec::new(),
            anothers: Vec::new(),
        };
        golden.note(operation.as_ref(), &Variant::Plain, &plain.world.passed());
        golden.anothers = golden.steps().into_iter().filter(|step| operation.is_anothers(step)).collect();
        golden.ordered = golden.steps().into_iter().filter(|step| !operation.is_unordered(step)).collect();
        golden.skippable = golden.steps().into_iter().filter(|step| operation.is_skippable(step)).collect();
        let mut variants = Vec::new();
        if operation.asks_the_exchange() {
            variants.push(Variant::Refused);
        }
        if operation.hurry(&mut plain.order.input.clone(), 1) {
            variants.push(Variant::Unconfirmed);
        }
        // Where it is about to call the exchange, all that came before can still be undone.
        let brinks = golden.own_steps().into_iter().filter(|step| is_brink(step));
        variants.extend(brinks.map(|at| Variant::Cancelled { at }));
        let others = variants.into_iter().map(|variant| async move {
            let run = run(operation, &variant, seed).await;
            (variant, run.world.passed())
        });
        for (variant, passed) in futures::future::join_all(others).await {
            golden.note(operation.as_ref(), &variant, &passed);
        }
        golden
    }

    fn note(&mut self, operation: &dyn Operation, variant: &Variant, passed: &[String]) {
        for point in passed {
            // A refusal can be forgotten wherever it was heard; the others are as plain as the plain one at first.
            let known = |(other, known): &(Variant, String)| {
                known == point && (other == variant || *variant != Variant::Refused)
            };
            let covered = *variant != Variant::Plain && operation.is_anothers(point);
            if !covered && !self.points.iter().any(known) {
                self.points.push((variant.clone(), point.clone()));
            }
        }
    }

    /// The failpoints that it passes when nothing is wrong, in order.
    pub fn steps(&self) -> Vec<String> {
        let plain = self.points.iter().filter(|(variant, _)| *variant == Variant::Plain);
        plain.map(|(_, point)| point.clone()).collect()
    }

    /// Those that have no cells elsewhere.
    pub fn own_steps(&self) -> Vec<String> {
        self.steps().into_iter().filter(|step| !self.anothers.contains(step)).collect()
    }
}

/// Whether the exchange is about to be called there.
pub(super) fn is_brink(step: &str) -> bool {
    step.starts_with("venue_") && step.ends_with(".before")
        || ["strategy_sync.before", "strategy_quote.before"].contains(&step)
}

/// What a run without faults should have shown and did not.
pub async fn lacks(operation: &Arc<dyn Operation>, seed: u64) -> Vec<String> {
    let run = run(operation, &Variant::Plain, seed).await;
    operation.lacks(&run.world).await
}

async fn run(operation: &Arc<dyn Operation>, variant: &Variant, seed: u64) -> Run {
    let name = format!("{}/golden/{}", operation.name(), variant.name());
    // Whatever keeps this machine busy meanwhile must not look like an order whose fate is unknown.
    let mut run = Run::new(operation, Own::default(), (false, true), Dice::new(&name, seed), None).await;
    run.begin(variant).await;
    run.pass_through(variant).await;
    let wrong = run.finish_alone(variant.disturbs()).await;
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
    run
}

fn paths(log: &[Value]) -> Vec<(String, bool)> {
    let mut paths: Vec<(String, bool)> = Vec::new();
    for request in log {
        let asked = (request["path"].as_str().unwrap().to_owned(), request["method"] != "GET");
        if !paths.contains(&asked) {
            paths.push(asked);
        }
    }
    paths
}
