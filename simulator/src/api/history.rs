//! `GET /sapi/v1/capital/withdraw/history`
//! (<https://developers.binance.com/docs/wallet/capital/withdraw-history>) and
//! `GET /sapi/v1/capital/deposit/hisrec`
//! (<https://developers.binance.com/docs/wallet/capital/deposit-history>).

use std::collections::HashSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Call;
use crate::answer::Answer;
use crate::clock::{DAY_MS, Millis, utc_text};
use crate::model::{Deposit, Withdrawal, WithdrawalState};
use crate::params::Params;
use crate::refusal::{DATE_INTERVAL, OPTIONAL_PARAMS_BAD_COMBO, Refusal};

/// The longest interval of a query, and the default one, in days.
const LONGEST_DAYS: i64 = 90;
/// The same for a query by `withdrawOrderId`.
const LONGEST_DAYS_BY_ORDER: i64 = 7;
/// The longest `idList`.
const MAX_IDS: usize = 45;
/// The largest page, and the default one.
const MAX_LIMIT: i64 = 1000;

/// An interval on the server's clock, both ends included.
struct Interval {
    from: Millis,
    /// Open when the query names no end, so that a record of this very millisecond is found.
    to: Option<Millis>,
}

impl Interval {
    /// Reads `startTime` and `endTime`. What is not sent is filled in first, then the length is
    /// checked: the page asks clients to mind the defaults.
    fn read(params: &Params, server_now: Millis, longest_days: i64) -> Result<Self, Refusal> {
        let from = params.integer("startTime")?;
        let to = params.integer("endTime")?;
        let end = to.unwrap_or(server_now);
        let longest = longest_days * DAY_MS;
        let from = from.unwrap_or(server_now - longest);
        if from > end || end - from > longest {
            let msg = format!("Time interval must be within 0-{longest_days} days");
            return Err(Refusal::bad_request(DATE_INTERVAL, msg));
        }
        Ok(Self { from, to })
    }

    fn holds(&self, moment: Millis) -> bool {
        moment >= self.from && self.to.is_none_or(|to| moment <= to)
    }
}

/// `offset` and `limit`.
struct Page {
    skip: usize,
    take: usize,
}

impl Page {
    fn read(params: &Params) -> Result<Self, Refusal> {
        let limit = params.integer("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        let offset = params.integer("offset")?.unwrap_or_default();
        Ok(Self {
            skip: usize::try_from(offset).unwrap_or(usize::MAX),
            take: usize::try_from(limit).unwrap_or_default(),
        })
    }

    /// Puts the newest first and cuts the page out.
    fn cut<'a, T>(&self, mut found: Vec<&'a T>, time: fn(&T) -> Millis) -> Vec<&'a T> {
        // Reversed first: of two with the same time, the one recorded later is the newer.
        found.reverse();
        found.sort_by_key(|record| std::cmp::Reverse(time(record)));
        found.into_iter().skip(self.skip).take(self.take).collect()
    }
}

/// Withdrawals that are executed and not hidden.
pub(super) fn withdrawals(call: &Call<'_>) -> Result<Answer, Refusal> {
    let params = &call.params;
    let coin = params.text("coin")?;
    let order_id = params.text("withdrawOrderId")?;
    let status = params.integer("status")?;
    let ids = read_ids(params)?;
    let page = Page::read(params)?;
    let longest = order_id.map_or(LONGEST_DAYS, |_| LONGEST_DAYS_BY_ORDER);
    let interval = Interval::read(params, call.server_now, longest)?;

    let ledger = call.app.ledger();
    let matching = ledger.withdrawals().iter().filter(|record| {
        let code = record.state(call.now).code();
        call.now >= record.visible_from_ms
            && code.is_some()
            && status.is_none_or(|status| code == Some(status))
            && coin.is_none_or(|coin| record.coin == coin)
            && order_id.is_none_or(|id| record.client_id.as_deref() == Some(id))
            && ids.as_ref().is_none_or(|ids| ids.contains(record.id.as_str()))
            && interval.holds(record.apply_time_ms)
    });
    let records = page.cut(matching.collect(), |record| record.apply_time_ms);
    let records = records.into_iter().map(|record| describe(record, call));
    Ok(Answer::ok(&Value::Array(records.collect())))
}

fn read_ids(params: &Params) -> Result<Option<HashSet<&str>>, Refusal> {
    let Some(list) = params.text("idList")? else {
        return Ok(None);
    };
    let ids: HashSet<&str> = list.split(',').map(str::trim).collect();
    if ids.len() > MAX_IDS {
        let msg = format!("Parameter 'idList' holds more than {MAX_IDS} ids.");
        return Err(Refusal::bad_request(OPTIONAL_PARAMS_BAD_COMBO, msg));
    }
    Ok(Some(ids))
}

/// A record in the exchange's form: `amount` is what the destination gets.
fn describe(record: &Withdrawal, call: &Call<'_>) -> Value {
    let state = record.state(call.now);
    let mut shown = json!({
        "id": record.id,
        "amount": (record.amount - record.fee).normalize().to_string(),
        "transactionFee": record.fee.normalize().to_string(),
        "coin": record.coin,
        "status": state.code(),
        "address": record.address,
        "applyTime": utc_text(record.apply_time_ms),
        "network": record.network,
        "transferType": 0,
        "info": record.info(call.now),
        "confirmNo": 0,
        "walletType": 0,
        "txKey": "",
    });
    if let Some(tag) = &record.tag {
        shown["addressTag"] = json!(tag);
    }
    if let Some(client_id) = &record.client_id {
        shown["withdrawOrderId"] = json!(client_id);
    }
    if state == WithdrawalState::Completed {
        let network = call.app.world.network(&record.coin, &record.network);
        shown["confirmNo"] = json!(network.map_or(0, |network| network.min_confirm));
        shown["txId"] = json!(tx_id(record));
    }
    if let Some(completed) = record.completed_at_ms(call.now) {
        let shift = record.apply_time_ms - record.executed_at_ms;
        shown["completeTime"] = json!(utc_text(completed + shift));
    }
    shown
}

/// A transaction id in the form of the network, the same each time it is asked for.
pub(crate) fn tx_id(record: &Withdrawal) -> String {
    let prefix = if record.address.starts_with("0x") { "0x" } else { "" };
    let digest = Sha256::digest(record.id.as_bytes());
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{}", digits.concat())
}

/// Deposits a test has made.
pub(super) fn deposits(call: &Call<'_>) -> Result<Answer, Refusal> {
    let params = &call.params;
    let coin = params.text("coin")?;
    let tx_id = params.text("txId")?;
    let status = params.integer("status")?;
    let page = Page::read(params)?;
    let interval = Interval::read(params, call.server_now, LONGEST_DAYS)?;

    let ledger = call.app.ledger();
    let matching = ledger.deposits().iter().filter(|deposit| {
        coin.is_none_or(|coin| deposit.coin == coin)
            && tx_id.is_none_or(|tx_id| deposit.tx_id == tx_id)
            && status.is_none_or(|status| deposit.status == status)
            && interval.holds(deposit.insert_time_ms)
    });
    let deposits = page.cut(matching.collect(), |deposit| deposit.insert_time_ms);
    let deposits = deposits.into_iter().map(|deposit| describe_deposit(deposit, call));
    Ok(Answer::ok(&Value::Array(deposits.collect())))
}

fn describe_deposit(deposit: &Deposit, call: &Call<'_>) -> Value {
    let network = call.app.world.network(&deposit.coin, &deposit.network);
    let needed = network.map_or(1, |network| network.min_confirm);
    let seen = if deposit.credited().is_zero() { 0 } else { needed };
    json!({
        "id": deposit.id,
        "amount": deposit.amount.normalize().to_string(),
        "coin": deposit.coin,
        "network": deposit.network,
        "status": deposit.status,
        "address": deposit.address,
        "addressTag": deposit.tag.as_deref().unwrap_or_default(),
        "txId": deposit.tx_id,
        "insertTime": deposit.insert_time_ms,
        "transferType": 0,
        "confirmTimes": format!("{seen}/{needed}"),
        "unlockConfirm": needed,
        "walletType": 0,
    })
}
