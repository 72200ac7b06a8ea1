//! Goal: whatever sixteen processes do to the same few payouts, reservations, deposits and accounts, in whatever order
//! and however late they commit, the books stay sound, and every answer that said "applied" happened exactly once.

use std::time::Duration;

use backstop_activities::books::{Books, BooksError, PayoutStanding};
use backstop_domain::{Verdict, machine::AttemptEvent, payout::PayoutOrder};
use backstop_tests::Database;
use futures::future::join_all;
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, RngSeed, TestError, TestRunner},
};
use tokio::{runtime::Runtime, sync::watch, time::timeout};
use uuid::Uuid;

use crate::desk::{ASKED_NOW, Desk, LONG, SHORT, held, id, order, paid, word};

const CASES: u32 = 8;
const CONNECTIONS: usize = 16;
const STEPS: usize = 48;
/// The connections work on the same few names for so many steps, then on the next few.
const STEPS_PER_NAME: usize = 12;
const USERS: [&str; 3] = ["alice", "bob", "carol"];
/// How long a stalled transaction waits for the others, who may all be waiting for it.
const STALL_MAX: Duration = Duration::from_millis(10);
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Call {
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
}

/// Who calls, and with which content.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Right,
    OtherContent,
    OtherHolder,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    /// One call, one commit.
    AtOnce,
    /// The transaction stays open until the others have made so many calls.
    Late { others: u64, commits: bool },
}

#[derive(Clone, Copy, Debug)]
struct Step {
    call: Call,
    manner: Manner,
    ending: Ending,
    name: u8,
}

fn calls() -> impl Strategy<Value = Call> {
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
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let manner =
        prop_oneof![10 => Just(Manner::Right), 1 => Just(Manner::OtherContent), 1 => Just(Manner::OtherHolder)];
    let late = (1..40_u64, any::<bool>()).prop_map(|(others, commits)| Ending::Late { others, commits });
    let ending = prop_oneof![7 => Just(Ending::AtOnce), 1 => late];
    (calls(), manner, ending, 0..4_u8).prop_map(|(call, manner, ending, name)| Step { call, manner, ending, name })
}

/// What a committed answer claims to have done: an announcement, and an act of a person.
#[derive(Debug, Default)]
struct Claim {
    announced: Option<String>,
    act: bool,
}

impl Claim {
    fn when(applied: bool, announced: String) -> Self {
        Self { announced: applied.then_some(announced), act: false }
    }

    fn of(standing: &PayoutStanding) -> Self {
        let receipt = &standing.receipt;
        Self::when(standing.applied, format!("{} payout.{}", receipt.payout_id, receipt.state.name()))
    }

    fn by_hand(self) -> Self {
        Self { act: self.announced.is_some(), ..self }
    }
}

/// What a step is about, worked out from its place in the script.
struct Subject {
    name: String,
    user: &'static str,
    holder: &'static str,
    amount: &'static str,
}

impl Subject {
    fn of(step: &Step, place: usize) -> Self {
        let block = place / STEPS_PER_NAME;
        Self {
            name: format!("{block}-{}", step.name),
            user: USERS[(block + usize::from(step.name)) % USERS.len()],
            holder: if step.manner == Manner::OtherHolder { "workflow-2" } else { "workflow-1" },
            amount: if step.manner == Manner::OtherContent { "0.06" } else { "0.05" },
        }
    }

    fn order(&self) -> PayoutOrder {
        PayoutOrder { user_id: id(self.user), holder: self.holder.into(), ..order(&self.name, self.amount) }
    }
}

async fn make(books: &Books, call: Call, subject: &Subject) -> Result<Claim, BooksError> {
    let (order, name, user) = (subject.order(), subject.name.as_str(), subject.user);
    let payout = held(&order);
    match call {
        Call::Open => Ok(Claim::of(&books.payout_open(&order).await?)),
        Call::Abandon => Ok(Claim::of(&books.payout_abandon(&order, "cancelled").await?)),
        Call::Attempt { long } => {
            books.payout_attempt(&payout, SHORT, if long { LONG } else { Duration::ZERO }).await?;
            Ok(Claim::when(true, format!("{} payout.attempted", payout.payout_id)))
        }
        Call::Outcome(event) => {
            let attempts = books.payout_attempts(&payout.payout_id).await?;
            let attempt = attempts.last().map_or(1, |attempt| attempt.attempt);
            books.payout_attempt_outcome(&payout, attempt, event, "", None).await?;
            Ok(Claim::default())
        }
        Call::Vanish => {
            let attempts = books.payout_attempts(&payout.payout_id).await?;
            books.payout_attempts_vanish(&payout, attempts.first().map_or(0, |attempt| attempt.now_ms)).await?;
            Ok(Claim::default())
        }
        Call::Settle { reference } => {
            Ok(Claim::of(&books.payout_settle(&payout, &paid(&format!("w-{reference}"), "0.049", "0.001")).await?))
        }
        Call::Return { failed } => Ok(Claim::of(&books.payout_return(&payout, "no", failed.then_some("w-9")).await?)),
        Call::Escalate => Ok(Claim::of(&books.payout_escalate(&payout, "no answer").await?)),
        Call::Resolve(verdict) => {
            Ok(Claim::of(&books.payout_resolve(&payout, &word(verdict), ASKED_NOW).await?).by_hand())
        }
        _ => make_other(books, call, subject, name, user).await,
    }
}

/// The calls that are about no payout.
async fn make_other(
    books: &Books,
    call: Call,
    Subject { holder, amount, .. }: &Subject,
    name: &str,
    user: &str,
) -> Result<Claim, BooksError> {
    let exact = amount.parse().unwrap();
    match call {
        Call::Reserve => {
            let applied = books.reservation_open(name, holder, user, "BTC", exact).await?;
            Ok(Claim::when(applied, format!("reservation/{name} reservation.opened")))
        }
        Call::Release => {
            let applied = books.reservation_release(name, holder, user, "BTC", exact).await?;
            let sql = "SELECT state FROM reservations WHERE reservation_id = $1";
            let state: String = sqlx::query_scalar(sql).bind(name).fetch_one(books.pool()).await?;
            Ok(Claim::when(applied, format!("reservation/{name} reservation.{state}")))
        }
        Call::Deposit { known } => {
            let applied = books.deposit_credit("binance", name, known.then_some(user), "BTC", exact).await?;
            let state = if known { "credited" } else { "suspended" };
            Ok(Claim::when(applied, format!("deposit/binance/{name} deposit.{state}")))
        }
        Call::Adjust { down } => {
            let delta = format!("{}{amount}", if down { "-" } else { "" });
            let sql = "SELECT adjustment_post($1, $2, 'ticket 9', $3, 'BTC', $4::numeric)";
            let query = sqlx::query_scalar(sql).bind(name).bind(holder).bind(user).bind(delta);
            Ok(Claim::when(query.fetch_one(books.pool()).await?, format!("adjustment/{name} adjustment.posted"))
                .by_hand())
        }
        Call::Freeze => {
            let query = sqlx::query_scalar("SELECT account_freeze($1, 'BTC', $2)").bind(user).bind(holder);
            Ok(Claim::when(query.fetch_one(books.pool()).await?, format!("account/{user}/BTC account.frozen")))
        }
        _ => {
            let sql = "SELECT account_unfreeze($1, 'BTC', $2, 'ticket 8')";
            let query = sqlx::query_scalar(sql).bind(user).bind(holder);
            let applied = query.fetch_one(books.pool()).await?;
            Ok(Claim::when(applied, format!("account/{user}/BTC account.unfrozen")).by_hand())
        }
    }
}

/// Takes a step, and returns what it claims if it was committed. A refusal is an answer; any other error is none here.
async fn take(books: &Books, step: &Step, place: usize, made: &watch::Sender<u64>) -> Claim {
    let subject = Subject::of(step, place);
    let sql = async |statement: &'static str| {
        sqlx::query(statement).execute(books.pool()).await.unwrap();
    };
    if let Ending::Late { .. } = step.ending {
        sql("BEGIN").await;
    }
    let answer = make(books, step.call, &subject).await;
    let seen = *made.borrow();
    made.send_modify(|calls| *calls += 1);
    if let Ending::Late { others, commits } = step.ending {
        let _ = timeout(STALL_MAX, made.subscribe().wait_for(|calls| *calls > seen + others)).await;
        sql(if commits { "COMMIT" } else { "ROLLBACK" }).await;
        if !commits {
            return Claim::default();
        }
    }
    answer.unwrap_or_else(|error| {
        assert!(error.refusal().is_some(), "{step:?} of {}: {error}", subject.name);
        Claim::default()
    })
}

async fn live(database: &Database, scripts: &[Vec<Step>]) -> Vec<Claim> {
    let (made, _) = watch::channel(0);
    let processes = scripts.iter().map(|script| {
        let (script, made, database) = (script.clone(), made.clone(), database.clone());
        tokio::spawn(async move {
            // One connection of its own: what it begins is its own transaction.
            let books = database.books(1).await;
            let mut claims = Vec::new();
            for (place, step) in script.iter().enumerate() {
                claims.push(take(&books, step, place, &made).await);
            }
            claims
        })
    });
    let ended = timeout(DEADLINE, join_all(processes)).await.expect("the processes hang");
    ended.into_iter().flat_map(Result::unwrap).collect()
}

async fn judge(scripts: &[Vec<Step>]) {
    let mut desk = Desk::open().await;
    let claims = live(&desk.database, scripts).await;
    desk.assert_sound().await;
    let acts = claims.iter().filter(|claim| claim.act).count();
    let mut claimed: Vec<String> = claims.into_iter().filter_map(|claim| claim.announced).collect();
    let mut happened = desk.announced().await;
    claimed.sort();
    happened.sort();
    assert_eq!(claimed, happened, "what was answered is not what happened");
    assert_eq!(acts, desk.acts().await.len(), "what people did is not what is on the record");
}

#[test]
fn any_history_of_sixteen_processes_leaves_sound_books_and_true_answers() {
    let seed = match Config::default().rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => Uuid::new_v4().as_u64_pair().1,
    };
    let config = Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        // The order of commits is not the script's alone: a smaller script need not fail again.
        max_shrink_iters: 0,
        ..Config::default()
    };
    let runtime = Runtime::new().unwrap();
    let outcome = TestRunner::new(config).run(&vec(vec(steps(), STEPS), CONNECTIONS), |scripts| {
        runtime.block_on(judge(&scripts));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        // The scripts themselves are long, and the seed makes them again.
        Err(TestError::Fail(reason, _)) => panic!("with PROPTEST_RNG_SEED={seed}: {reason}"),
        Err(error) => panic!("{error}"),
    }
}
