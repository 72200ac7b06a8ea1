//! What the processes do, made at random.

use backstop_domain::{Verdict, machine::AttemptEvent};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};

#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Open,
    Abandon,
    Attempt { long: bool },
    Outcome(AttemptEvent),
    Vanish,
    Settle { reference: u8 },
    Return { failed: bool },
    Escalate,
    Resolve(Verdict),
    Reserve,
    Release,
    Deposit { known: bool },
    Adjust { down: bool },
    Freeze,
    Unfreeze,
    Decide { approve: bool },
    Expire,
    Claim,
    Observe { needed: bool },
    FundingOpen,
    FundingExpire,
    FundingRelease,
    RefundPart { part: u8 },
    OrderOpen,
    OrderAbandon,
    OrderAttempt,
    OrderPlace,
    OrderVoid,
    Fill { trade: u8, beyond: bool },
    OrderEnd,
    Start,
    Stop,
    PauseOpen,
    PauseDrained,
    PauseEnd { event: u8 },
}

/// Who calls, and with which content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Manner {
    Right,
    OtherContent,
    OtherHolder,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// One call, one commit.
    AtOnce,
    /// The transaction stays open until the others have made so many calls.
    Late { others: u64, commits: bool },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) call: Call,
    pub(super) manner: Manner,
    pub(super) ending: Ending,
    pub(super) name: u8,
}

pub(super) fn calls() -> impl Strategy<Value = Call> {
    let event = prop_oneof![
        3 => Just(AttemptEvent::Accept), 1 => Just(AttemptEvent::Reject), 4 => Just(AttemptEvent::NotSend),
        3 => Just(AttemptEvent::Lose),
    ];
    prop_oneof![
        6 => Just(Call::Open),
        1 => Just(Call::Abandon),
        5 => any::<bool>().prop_map(|long| Call::Attempt { long }),
        4 => event.prop_map(Call::Outcome),
        2 => Just(Call::Vanish),
        1 => (0..2_u8).prop_map(|reference| Call::Settle { reference }),
        2 => any::<bool>().prop_map(|failed| Call::Return { failed }),
        1 => Just(Call::Escalate),
        2 => prop_oneof![Just(Verdict::Executed), Just(Verdict::NotExecuted)].prop_map(Call::Resolve),
        3 => Just(Call::Reserve),
        2 => Just(Call::Release),
        3 => any::<bool>().prop_map(|known| Call::Deposit { known }),
        2 => any::<bool>().prop_map(|down| Call::Adjust { down }),
        1 => Just(Call::Freeze),
        3 => Just(Call::Unfreeze),
        3 => any::<bool>().prop_map(|approve| Call::Decide { approve }),
        1 => Just(Call::Expire),
        4 => Just(Call::Claim),
        18 => trades(),
        12 => waits(),
    ]
}

/// Calls about strategies, their orders, and the operations that stop them.
pub(super) fn trades() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => Just(Call::OrderOpen),
        1 => Just(Call::OrderAbandon),
        5 => Just(Call::OrderAttempt),
        3 => Just(Call::OrderPlace),
        1 => Just(Call::OrderVoid),
        5 => (0..3_u8, prop::bool::weighted(0.2)).prop_map(|(trade, beyond)| Call::Fill { trade, beyond }),
        3 => Just(Call::OrderEnd),
        4 => Just(Call::Start),
        1 => Just(Call::Stop),
        1 => Just(Call::PauseOpen),
        2 => Just(Call::PauseDrained),
        2 => (0..3_u8).prop_map(|event| Call::PauseEnd { event }),
    ]
}

/// Calls about orders that wait for their payments.
pub(super) fn waits() -> impl Strategy<Value = Call> {
    prop_oneof![
        5 => prop::bool::weighted(0.7).prop_map(|needed| Call::Observe { needed }),
        3 => Just(Call::FundingOpen),
        1 => Just(Call::FundingExpire),
        2 => Just(Call::FundingRelease),
        3 => (0..4_u8).prop_map(|part| Call::RefundPart { part }),
    ]
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let manner =
        prop_oneof![10 => Just(Manner::Right), 1 => Just(Manner::OtherContent), 1 => Just(Manner::OtherHolder)];
    let late = (1..40_u64, any::<bool>()).prop_map(|(others, commits)| Ending::Late { others, commits });
    let ending = prop_oneof![7 => Just(Ending::AtOnce), 1 => late];
    (calls(), manner, ending, 0..4_u8).prop_map(|(call, manner, ending, name)| Step { call, manner, ending, name })
}
