//! What the matrix has to know of a saga.

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use crate::{World, exchange::APPLY};

/// A saga that the matrix can start. See `refund.rs` for one.
pub trait Operation: Send + Sync {
    /// Names it in cells and in the table.
    fn name(&self) -> &'static str;

    /// The workflow's type.
    fn workflow(&self) -> &'static str;

    /// Makes what one operation needs in the world (users, deposits), and says how it is started.
    fn prepare<'a>(&'a self, world: &'a World) -> BoxFuture<'a, Order>;

    /// The signals it needs to get to its end, in their order. Sent right after every start; in one kind of cell, twice.
    fn signals(&self, _order: &Order) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Whether it has to do with the exchange. What has not can't be refused by it.
    fn asks_the_exchange(&self) -> bool {
        true
    }

    /// A fault by which the exchange refuses it for good: its path, and what is posted to the admin API.
    fn refusal(&self) -> (&'static str, Value) {
        (APPLY, json!({"fault": "reject", "code": -4026, "times": 1_000}))
    }

    /// Changes the input so that an operator is called after so many seconds; false where none ever is.
    fn hurry(&self, _input: &mut Value, _seconds: u64) -> bool {
        false
    }

    /// Whether it sends orders itself.
    fn places_orders(&self) -> bool {
        false
    }

    /// Steps that come sooner or later from one run to the next, so that no other can be said to come after them.
    fn is_unordered(&self, _step: &str) -> bool {
        false
    }

    /// Steps that it does without when the watch was quicker. In a world where somebody takes a copy of the books first, it
    /// often is.
    fn is_skippable(&self, _step: &str) -> bool {
        false
    }

    /// What others do while it runs, from its first start on: beside the fault, and until the world is judged.
    fn meanwhile(&self, _world: &World, _order: &Order) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// What a run without faults should have shown and did not, without which the cells would be about something else.
    fn lacks<'a>(&'a self, _world: &'a World) -> BoxFuture<'a, Vec<String>> {
        async { Vec::new() }.boxed()
    }

    /// Steps of workflows that it starts and that have cells of their own: there it is only killed.
    fn is_anothers(&self, _step: &str) -> bool {
        false
    }

    /// Whether the watch starts it again where it was terminated, instead of a person.
    fn is_watched(&self) -> bool {
        false
    }

    /// Whether the exchange holds in its worlds what the books owe, so that they can be reconciled.
    fn is_reconciled(&self) -> bool {
        false
    }

    /// Whether workflows that it has started may still be at work when it has ended.
    fn leaves_children(&self) -> bool {
        false
    }

    /// Whether it has ended for now, and goes on when it is started again.
    fn may_go_on<'a>(&'a self, _world: &'a World, _order: &'a Order) -> BoxFuture<'a, bool> {
        async { false }.boxed()
    }

    /// What is wrong with the world once its workflows have ended so, besides what no saga may leave behind.
    fn wrong<'a>(&'a self, _world: &'a World, _order: &'a Order, _ends: &'a [String]) -> BoxFuture<'a, Vec<String>> {
        async { Vec::new() }.boxed()
    }

    /// How the workflow may end: the `state` of its result, or the type of its failure, or `cancelled`.
    fn ends(&self, disturbed: Disturbed) -> &'static [&'static str];
}

/// One operation that can be started.
#[derive(Clone, Debug)]
pub struct Order {
    /// The workflow id.
    pub id: String,
    /// The only input.
    pub input: Value,
}

impl Order {
    /// A second workflow id, where it is started twice.
    pub fn other_id(&self) -> String {
        format!("{}/other", self.id)
    }
}

/// What kind of thing happens to an operation, as far as its lawful ends go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbed {
    /// Nothing, or what it has to get over as if nothing had been.
    Not,
    /// The exchange refuses it for good.
    Refused,
    /// Somebody cancels it.
    Cancelled,
    /// It is the second of two under the same business id.
    Second,
}
