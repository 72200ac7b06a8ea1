//! The state machines of the books: one table each, the same as the books' own `transitions`.

/// Declares a machine: its states and events as enums with their names in the books, and its one table.
macro_rules! machine {
    (
        $(#[$doc:meta])* $name:literal
        $state:ident { $($s:ident = $s_name:literal),+ $(,)? }
        $event:ident { $($e:ident = $e_name:literal),+ $(,)? }
        $($from:ident + $on:ident => $to:ident),+ $(,)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $state { $(#[allow(missing_docs)] $s),+ }

        /// What can happen to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $event { $(#[allow(missing_docs)] $e),+ }

        impl $state {
            /// The machine's name in the books.
            pub const MACHINE: &str = $name;
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$s),+];

            /// The state's name in the books.
            pub fn name(self) -> &'static str {
                match self { $(Self::$s => $s_name),+ }
            }

            /// The state with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($s_name => Some(Self::$s),)+ _ => None }
            }

            /// Where the event leads from here; `None` where it is not allowed.
            pub fn on(self, event: $event) -> Option<Self> {
                match (self, event) {
                    $((Self::$from, $event::$on) => Some(Self::$to),)+
                    _ => None,
                }
            }
        }

        impl $event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$e),+];

            /// The event's name in the books.
            pub fn name(self) -> &'static str {
                match self { $(Self::$e => $e_name),+ }
            }
        }
    };
}

machine! {
    /// A payout's state.
    "payout"
    PayoutState {
        Absent = "absent", AwaitingApproval = "awaiting_approval", Queued = "queued", Opened = "opened",
        Attempted = "attempted", NeedsOperator = "needs_operator", Settled = "settled", Returned = "returned",
        Abandoned = "abandoned", Rejected = "rejected", Expired = "expired",
    }
    PayoutEvent {
        Request = "request", RequestApproval = "request_approval", Approve = "approve", Reject = "reject",
        Expire = "expire", Open = "open", Abandon = "abandon", Attempt = "attempt", Settle = "settle",
        Return = "return", Escalate = "escalate",
    }
    Absent + Open => Opened,
    Absent + Abandon => Abandoned,
    Absent + Request => Queued,
    Absent + RequestApproval => AwaitingApproval,
    AwaitingApproval + Approve => Queued,
    AwaitingApproval + Reject => Rejected,
    AwaitingApproval + Expire => Expired,
    AwaitingApproval + Abandon => Abandoned,
    Queued + Open => Opened,
    Queued + Abandon => Abandoned,
    Opened + Abandon => Abandoned,
    Opened + Attempt => Attempted,
    Attempted + Attempt => Attempted,
    Attempted + Settle => Settled,
    Attempted + Return => Returned,
    Attempted + Escalate => NeedsOperator,
    NeedsOperator + Settle => Settled,
    NeedsOperator + Return => Returned,
}

impl PayoutState {
    /// True when nothing more happens to it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Settled | Self::Returned | Self::Abandoned | Self::Rejected | Self::Expired)
    }
}

machine! {
    /// How one send to the venue stands.
    "attempt"
    AttemptState {
        Pending = "pending", Accepted = "accepted", Rejected = "rejected", NotSent = "not_sent", Unknown = "unknown",
        Absent = "absent",
    }
    AttemptEvent { Accept = "accept", Reject = "reject", NotSend = "not_send", Lose = "lose", Vanish = "vanish" }
    Pending + Accept => Accepted,
    Pending + Reject => Rejected,
    Pending + NotSend => NotSent,
    Pending + Lose => Unknown,
    Pending + Vanish => Absent,
    Unknown + Accept => Accepted,
    Unknown + Vanish => Absent,
}

impl AttemptState {
    /// True while the attempt may have had, or may still have, an effect.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Unknown | Self::Accepted)
    }
}

machine! {
    /// A reservation's state.
    "reservation"
    ReservationState { Absent = "absent", Open = "open", Released = "released", Abandoned = "abandoned" }
    ReservationEvent { Open = "open", Release = "release" }
    Absent + Open => Open,
    Absent + Release => Abandoned,
    Open + Release => Released,
}

machine! {
    /// A deposit's state.
    "deposit"
    DepositState { Absent = "absent", Credited = "credited", Suspended = "suspended", Claimed = "claimed" }
    DepositEvent { Credit = "credit", Suspend = "suspend", Claim = "claim" }
    Absent + Credit => Credited,
    Absent + Suspend => Suspended,
    Suspended + Claim => Claimed,
}

machine! {
    /// How an order that waits for its payments stands.
    "funding"
    FundingState {
        Absent = "absent", Awaiting = "awaiting", Funded = "funded", Released = "released", Expired = "expired",
    }
    FundingEvent { Open = "open", Complete = "complete", Release = "release", Expire = "expire" }
    Absent + Open => Awaiting,
    Awaiting + Complete => Funded,
    Funded + Release => Released,
    Awaiting + Expire => Expired,
}

machine! {
    /// What was decided on a deposit, or a part of it.
    "part"
    PartState { Absent = "absent", Reserved = "reserved", Refunding = "refunding", Kept = "kept" }
    PartEvent { Reserve = "reserve", Refund = "refund", Keep = "keep" }
    Absent + Reserve => Reserved,
    Absent + Refund => Refunding,
    Absent + Keep => Kept,
    Reserved + Refund => Refunding,
    Reserved + Keep => Kept,
    Refunding + Keep => Kept,
}

machine! {
    /// Whether a strategy trades.
    "strategy"
    StrategyState { Absent = "absent", Running = "running", Stopped = "stopped" }
    StrategyEvent { Start = "start", Stop = "stop" }
    Absent + Start => Running,
    Running + Stop => Stopped,
    Stopped + Start => Running,
}

machine! {
    /// An order's state.
    "order"
    OrderState {
        Absent = "absent", Opened = "opened", Attempted = "attempted", Placed = "placed", Void = "void", Ended = "ended",
        Abandoned = "abandoned",
    }
    OrderEvent {
        Open = "open", Abandon = "abandon", Attempt = "attempt", NotSend = "not_send", Place = "place", Void = "void",
        End = "end",
    }
    Absent + Open => Opened,
    Absent + Abandon => Abandoned,
    Opened + Abandon => Abandoned,
    Opened + Attempt => Attempted,
    Attempted + NotSend => Opened,
    Opened + Place => Placed,
    Attempted + Place => Placed,
    Attempted + Void => Void,
    Attempted + End => Ended,
    Placed + End => Ended,
}

machine! {
    /// How far a pause-and-withdraw is. Only `Completed` and `Failed` are final.
    "pause"
    PauseState {
        Absent = "absent", Draining = "draining", Blocked = "blocked", Withdrawing = "withdrawing",
        Completed = "completed", Failed = "failed",
    }
    PauseEvent { Open = "open", Drain = "drain", Block = "block", Complete = "complete", Fail = "fail" }
    Absent + Open => Draining,
    Draining + Drain => Withdrawing,
    Draining + Block => Blocked,
    Blocked + Open => Draining,
    Withdrawing + Complete => Completed,
    Withdrawing + Fail => Failed,
}

machine! {
    /// How far an intent is: something that a strategy wants done at a venue.
    "intent"
    IntentState {
        Absent = "absent", Waiting = "waiting", Claimed = "claimed", Done = "done", Failed = "failed",
        Cancelled = "cancelled", Abandoned = "abandoned",
    }
    IntentEvent {
        Open = "open", Abandon = "abandon", Claim = "claim", Cancel = "cancel", Fail = "fail", Finish = "finish",
    }
    Absent + Open => Waiting,
    Absent + Abandon => Abandoned,
    Waiting + Claim => Claimed,
    Waiting + Cancel => Cancelled,
    Waiting + Fail => Failed,
    Claimed + Finish => Done,
    Claimed + Fail => Failed,
    Claimed + Cancel => Cancelled,
}

impl IntentState {
    /// True when nothing more happens to it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Abandoned)
    }
}

machine! {
    /// Whether a reward was distributed: its opening and its credits are one commit.
    "reward"
    RewardState { Absent = "absent", Distributed = "distributed", Abandoned = "abandoned" }
    RewardEvent { Distribute = "distribute", Abandon = "abandon" }
    Absent + Distribute => Distributed,
    Absent + Abandon => Abandoned,
}

/// Every allowed transition of every machine as `(machine, state, event, next)`, by the names in the books.
pub fn all_transitions() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    macro_rules! rows {
        ($state:ident, $event:ident) => {
            $state::ALL.iter().flat_map(|state| {
                $event::ALL.iter().filter_map(|event| {
                    let next = state.on(*event)?;
                    Some(($state::MACHINE, state.name(), event.name(), next.name()))
                })
            })
        };
    }
    rows!(PayoutState, PayoutEvent)
        .chain(rows!(AttemptState, AttemptEvent))
        .chain(rows!(ReservationState, ReservationEvent))
        .chain(rows!(DepositState, DepositEvent))
        .chain(rows!(FundingState, FundingEvent))
        .chain(rows!(PartState, PartEvent))
        .chain(rows!(StrategyState, StrategyEvent))
        .chain(rows!(OrderState, OrderEvent))
        .chain(rows!(PauseState, PauseEvent))
        .chain(rows!(IntentState, IntentEvent))
        .chain(rows!(RewardState, RewardEvent))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_of_a_payout_allow_nothing_and_every_other_allows_something() {
        for state in PayoutState::ALL {
            let exits = PayoutEvent::ALL.iter().filter(|event| state.on(**event).is_some()).count();
            assert_eq!(exits == 0, state.is_final(), "{state:?}");
        }
    }

    #[test]
    fn final_states_of_an_intent_allow_nothing_and_every_other_allows_something() {
        for state in IntentState::ALL {
            let exits = IntentEvent::ALL.iter().filter(|event| state.on(**event).is_some()).count();
            assert_eq!(exits == 0, state.is_final(), "{state:?}");
        }
    }

    #[test]
    fn no_payout_is_undone_once_it_was_attempted() {
        let mut reached = vec![PayoutState::Attempted];
        while let Some(state) = reached.pop() {
            assert_eq!(state.on(PayoutEvent::Abandon), None, "{state:?}");
            reached.extend(PayoutEvent::ALL.iter().filter_map(|event| state.on(*event)).filter(|next| *next != state));
        }
    }

    #[test]
    fn an_accepted_or_void_attempt_stays_what_it_is() {
        for state in AttemptState::ALL {
            let exits = AttemptEvent::ALL.iter().filter(|event| state.on(**event).is_some()).count();
            assert_eq!(exits > 0, matches!(state, AttemptState::Pending | AttemptState::Unknown), "{state:?}");
        }
    }

    #[test]
    fn names_lead_back_to_their_state() {
        for state in PayoutState::ALL {
            assert_eq!(PayoutState::from_name(state.name()), Some(*state));
        }
        for state in IntentState::ALL {
            assert_eq!(IntentState::from_name(state.name()), Some(*state));
        }
        assert_eq!(PayoutState::from_name("gone"), None);
        assert_eq!(IntentState::from_name("gone"), None);
    }
}
