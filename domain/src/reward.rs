//! Rewards: an amount out of a pool, split among users in proportion to their shares, to the last unit.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Amount, BusinessId, Fields, InvalidInput, machine::RewardState};

#[cfg(test)]
mod tests;

/// So many users share one reward: their credits are one commit.
const USERS_MAX: usize = 1_000;
const BPS_MAX: u32 = 10_000;
/// What shares sum up to, in their smallest units: so much can still be multiplied and divided exactly.
const SHARES_END: u128 = 10_u128.pow(38);
const PLACES_MAX: u32 = 18;

/// The input of the `DistributeReward` workflow: split `amount` of a pool among users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardRequest {
    /// Names the reward; it takes effect at most once, whoever starts it and however often.
    pub reward_id: BusinessId,
    /// The pool that pays.
    pub pool: BusinessId,
    /// What is paid.
    pub asset_id: BusinessId,
    /// What leaves the pool: the users' parts and the platform's fee.
    pub amount: Amount,
    /// By user, what each one's part is in proportion to.
    pub shares: BTreeMap<String, Amount>,
    /// What the platform keeps of the amount, in hundredths of a percent.
    pub platform_fee_bps: u32,
    /// Who asks for it.
    pub requested_by: BusinessId,
}

impl RewardRequest {
    /// Reads the workflow's JSON input.
    ///
    /// # Errors
    /// Names the first field that is wrong, missing or unknown, and what was expected.
    pub fn read(input: Value) -> Result<Self, InvalidInput> {
        let mut fields = Fields::of(input)?;
        let request = Self {
            reward_id: fields.id("reward_id")?,
            pool: fields.id("pool")?,
            asset_id: fields.id("asset_id")?,
            amount: fields.amount("amount")?,
            shares: read_shares(&mut fields)?,
            platform_fee_bps: read_fee(&mut fields)?,
            requested_by: fields.id("requested_by")?,
        };
        fields.finish()?;
        Ok(request)
    }

    /// What makes two rewards with one id the same reward. Flat, so that a user whose share differs is named.
    pub fn content(&self) -> Value {
        let shares = self.shares.iter().map(|(user, share)| (format!("shares.{user}"), json!(share)));
        let mut content: Map<String, Value> = shares.collect();
        content.insert("pool".into(), json!(self.pool));
        content.insert("asset_id".into(), json!(self.asset_id));
        content.insert("amount".into(), json!(self.amount));
        content.insert("platform_fee_bps".into(), json!(self.platform_fee_bps));
        content.insert("requested_by".into(), json!(self.requested_by));
        Value::Object(content)
    }

    /// In words: `5 BTC of pool p to 3 users`.
    pub fn in_words(&self) -> String {
        let users = match self.shares.len() {
            1 => "one user".to_owned(),
            several => format!("{several} users"),
        };
        format!("{} {} of pool {} to {users}", self.amount, self.asset_id, self.pool)
    }

    /// The platform's fee and each user's part, to the `decimals` places that the asset has. `None` when the amount has
    /// more than these. The fee is rounded down; the rest is split by largest remainder, ties in the order of user ids.
    pub fn split(&self, decimals: u32) -> Option<Split> {
        let unit = 10_u128.pow(PLACES_MAX.checked_sub(decimals)?);
        let atoms = self.amount.atoms();
        if !atoms.is_multiple_of(unit) {
            return None;
        }
        let amount = atoms / unit;
        let (fee, _) = multiply_divide(amount, self.platform_fee_bps.into(), BPS_MAX.into());
        let shares: Vec<u128> = self.shares.values().map(|share| share.atoms()).collect();
        let parts = largest_remainder(amount - fee, &shares);
        Some(Split {
            platform_fee: in_decimals(fee, decimals),
            allocations: parts.into_iter().map(|part| in_decimals(part, decimals)).collect(),
        })
    }
}

fn read_shares(fields: &mut Fields) -> Result<BTreeMap<String, Amount>, InvalidInput> {
    let shares = fields.amounts_of_users("shares")?;
    let sum = shares.values().map(|share| share.atoms()).try_fold(0_u128, u128::checked_add);
    if !(1..=USERS_MAX).contains(&shares.len()) {
        return Err(InvalidInput::new("shares", format!("1 to {USERS_MAX} users")));
    }
    if sum.is_none_or(|sum| sum >= SHARES_END) {
        return Err(InvalidInput::new("shares", "shares that sum up to less than 10^20"));
    }
    Ok(shares)
}

fn read_fee(fields: &mut Fields) -> Result<u32, InvalidInput> {
    let fee = fields.optional_number("platform_fee_bps", 0..=BPS_MAX.into())?.unwrap_or(0);
    Ok(u32::try_from(fee).unwrap_or(BPS_MAX))
}

/// How an amount is split. The parts and the fee sum up to it exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// What the platform keeps.
    pub platform_fee: String,
    /// Each user's part, in the order of the shares.
    pub allocations: Vec<String>,
}

/// Splits so many whole units in proportion to weights. Each gets its exact part rounded down; the units that are left go
/// one each to those with the largest remainders, of equal ones to the earlier.
fn largest_remainder(whole: u128, weights: &[u128]) -> Vec<u128> {
    let sum: u128 = weights.iter().sum();
    let (mut parts, remainders): (Vec<u128>, Vec<u128>) =
        weights.iter().map(|weight| multiply_divide(whole, *weight, sum)).unzip();
    let left = whole - parts.iter().sum::<u128>();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    // A stable sort: equal remainders stay in their order.
    order.sort_by_key(|index| Reverse(remainders[*index]));
    // Fewer are left than there are weights.
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        parts[index] += 1;
    }
    parts
}

/// `a * b / c`, rounded down, and the remainder: exact where `b <= c` and `c` is at most a third of what 128 bits hold. The
/// product itself may not fit: it is taken bit by bit of `a`, and divided on the way.
fn multiply_divide(a: u128, b: u128, c: u128) -> (u128, u128) {
    let (mut quotient, mut remainder) = (0, 0);
    for bit in (0..u128::BITS - a.leading_zeros()).rev() {
        let next = 2 * remainder + if a >> bit & 1 == 1 { b } else { 0 };
        quotient = 2 * quotient + next / c;
        remainder = next % c;
    }
    (quotient, remainder)
}

/// Smallest units of an asset as a plain decimal without trailing zeros. May have more digits than an [`Amount`] carries.
fn in_decimals(units: u128, decimals: u32) -> String {
    let one = 10_u128.pow(decimals);
    let fraction = format!("{:0width$}", units % one, width = decimals as usize);
    match fraction.trim_end_matches('0') {
        "" => (units / one).to_string(),
        fraction => format!("{}.{fraction}", units / one),
    }
}

/// A reward as the books have it. The result of its workflow, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardReceipt {
    /// Which reward.
    pub reward_id: String,
    /// How it ended.
    pub state: RewardState,
    /// The pool that paid.
    pub pool: String,
    /// What was paid.
    pub asset_id: String,
    /// What left the pool.
    pub amount: String,
    /// What the platform kept of it.
    pub platform_fee: Option<String>,
    /// What each user got.
    pub allocations: BTreeMap<String, String>,
    /// Who asked for it.
    pub requested_by: String,
    /// Why it was ended without effect.
    pub reason: Option<String>,
}
