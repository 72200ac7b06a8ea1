//! One step of a process: the call, and what its answer claims.

use std::time::Duration;

use backstop_activities::books::{Books, BooksError, PayoutStanding};
use backstop_domain::payout::{PayoutKind, PayoutOrder};

use super::{
    STEPS_PER_NAME, THRESHOLD, USERS,
    script::{Call, Manner, Step},
    trading::make_order,
};
use crate::{
    desk::{ASKED_NOW, LONG, SHORT, held, id, order, paid, word},
    stock::{decision, withdrawal},
};

/// What a committed answer claims to have done: an announcement, and an act of a person.
#[derive(Debug, Default)]
pub(super) struct Claim {
    pub(super) announced: Option<String>,
    pub(super) act: bool,
}

impl Claim {
    pub(super) fn when(applied: bool, announced: String) -> Self {
        Self { announced: applied.then_some(announced), act: false }
    }

    pub(super) fn of(standing: &PayoutStanding) -> Self {
        let receipt = &standing.receipt;
        Self::when(standing.applied, format!("{} payout.{}", receipt.payout_id, receipt.state.name()))
    }

    pub(super) fn by_hand(self) -> Self {
        Self { act: self.announced.is_some(), ..self }
    }
}

/// What a step is about, worked out from its place in the script.
pub(super) struct Subject {
    pub(super) name: String,
    number: u8,
    pub(super) user: &'static str,
    pub(super) holder: &'static str,
    pub(super) amount: &'static str,
}

impl Subject {
    pub(super) fn of(step: &Step, place: usize) -> Self {
        let block = place / STEPS_PER_NAME;
        Self {
            name: format!("{block}-{}", step.name),
            number: step.name,
            user: USERS[(block + usize::from(step.name)) % USERS.len()],
            holder: if step.manner == Manner::OtherHolder { "workflow-2" } else { "workflow-1" },
            amount: if step.manner == Manner::OtherContent { "0.06" } else { "0.05" },
        }
    }

    /// Of every four names, two are of refunds, and two of withdrawals, of which one needs an approval.
    pub(super) fn order(&self) -> PayoutOrder {
        let order = match (self.number, self.amount) {
            (0 | 1, amount) => order(&self.name, amount),
            (2, amount) => withdrawal(&self.name, amount),
            (_, "0.05") => withdrawal(&self.name, THRESHOLD),
            _ => withdrawal(&self.name, "0.51"),
        };
        PayoutOrder { user_id: id(self.user), holder: self.holder.into(), ..order }
    }
}

pub(super) async fn make(books: &Books, call: Call, subject: &Subject) -> Result<Claim, BooksError> {
    let (order, name, user) = (subject.order(), subject.name.as_str(), subject.user);
    let payout = held(&order);
    match call {
        Call::Open if order.kind == PayoutKind::Refund => Ok(Claim::of(&books.payout_open(&order).await?)),
        Call::Open => Ok(Claim::of(&books.withdrawal_request(&order).await?)),
        Call::Claim => Ok(Claim::of(&books.withdrawal_claim(&payout).await?)),
        Call::Expire => Ok(Claim::of(&books.withdrawal_expire(&payout).await?)),
        Call::Decide { approve } => {
            Ok(Claim::of(&books.withdrawal_decide(&payout, approve, &decision("ann")).await?).by_hand())
        }
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
async fn make_other(books: &Books, call: Call, subject: &Subject, name: &str, user: &str) -> Result<Claim, BooksError> {
    let Subject { holder, amount, .. } = subject;
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
        Call::Unfreeze => {
            let sql = "SELECT account_unfreeze($1, 'BTC', $2, 'ticket 8')";
            let query = sqlx::query_scalar(sql).bind(user).bind(holder);
            let applied = query.fetch_one(books.pool()).await?;
            Ok(Claim::when(applied, format!("account/{user}/BTC account.unfrozen")).by_hand())
        }
        _ => make_order(books, call, subject).await,
    }
}
