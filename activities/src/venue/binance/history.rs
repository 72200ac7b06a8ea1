//! What came and went, by the account's own history: "Withdraw History" and "Deposit History" of the Wallet API.

use std::collections::HashMap;

use backstop_domain::Amount;
use reqwest::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Binance, refusal_text};
use crate::{
    clock::Clock,
    venue::{
        DepositListing, DepositRecord, DepositState, LookupFailed, RecordState, UnreadableDeposit, WithdrawalRecord,
    },
};

const WITHDRAWALS: &str = "sapi/v1/capital/withdraw/history";
const DEPOSITS: &str = "sapi/v1/capital/deposit/hisrec";
const DAY_MS: i64 = 24 * 3_600_000;
/// The longest span of one request, which must be shorter than 90 days (Wallet API, "Withdraw History", "Deposit History").
const SPAN_MS: i64 = 90 * DAY_MS - 1;
/// The same where a client id is named: shorter than 7 days (Wallet API, "Withdraw History").
const SPAN_OF_CLIENT_ID_MS: i64 = 7 * DAY_MS - 1;
/// The most rows of one answer (Wallet API, `limit`).
const ROWS_MAX: usize = 1_000;
/// The most pages of one span. Each weighs a tenth of what an account may ask for in a minute: this is a fault, or a span
/// that is to be asked for in parts.
const PAGES_MAX: usize = 50;

/// A row of a listing, named by the venue's id.
trait Row: DeserializeOwned {
    fn id(&self) -> &str;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithdrawalRow {
    id: String,
    amount: String,
    transaction_fee: String,
    status: u8,
    #[serde(default)]
    tx_id: Option<String>,
    #[serde(default)]
    withdraw_order_id: Option<String>,
    #[serde(default)]
    info: Option<String>,
    #[serde(default)]
    complete_time: Option<String>,
}

/// A row of the listing of deposits. One that can't be read is kept as it is, and fails no other.
#[derive(Deserialize)]
#[serde(from = "Value")]
struct DepositRow {
    id: String,
    read: Result<DepositRecord, UnreadableDeposit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DepositFields {
    id: String,
    amount: String,
    coin: String,
    network: String,
    status: u8,
    address: String,
    #[serde(default)]
    address_tag: Option<String>,
    #[serde(default)]
    tx_id: Option<String>,
    insert_time: i64,
}

impl Row for WithdrawalRow {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Row for DepositRow {
    fn id(&self) -> &str {
        &self.id
    }
}

impl From<Value> for DepositRow {
    fn from(row: Value) -> Self {
        let read = DepositFields::deserialize(&row).map_err(|error| error.to_string()).and_then(read_deposit);
        let read = read.map_err(|why| {
            let (id, text) = (name_of(&row), row.to_string());
            UnreadableDeposit { id, row: text, why, inserted_at_ms: row["insertTime"].as_i64() }
        });
        let id = match &read {
            Ok(record) => record.id.clone(),
            Err(unreadable) => unreadable.id.clone(),
        };
        Self { id, read }
    }
}

/// What a row that can't be read is known by: its id, or else what it says.
fn name_of(row: &Value) -> String {
    let id = match &row["id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => String::new(),
    };
    if !id.is_empty() && !id.chars().any(char::is_control) {
        return id;
    }
    let digest = Sha256::digest(row.to_string());
    digest.iter().take(8).fold("row-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Rows by the venue's id, in the order in which they were first seen.
struct Seen<T> {
    rows: Vec<T>,
    places: HashMap<String, usize>,
}

impl<T: Row> Seen<T> {
    fn knows(&self, row: &T) -> bool {
        self.places.contains_key(row.id())
    }

    /// A row that is seen again is what the venue says of it by now.
    fn add(&mut self, row: T) {
        if let Some(place) = self.places.get(row.id()) {
            self.rows[*place] = row;
        } else {
            self.places.insert(row.id().to_owned(), self.rows.len());
            self.rows.push(row);
        }
    }
}

impl Binance {
    pub(super) async fn withdrawals_of(
        &self,
        client_id: &str,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<WithdrawalRecord>, LookupFailed> {
        let clock = Clock::from(now_ms);
        let mut found = Vec::new();
        for (start, end) in spans(from_ms, until_ms, SPAN_OF_CLIENT_ID_MS)? {
            let (start, end) = (start.to_string(), end.to_string());
            let parameters = [("withdrawOrderId", client_id), ("startTime", &start), ("endTime", &end)];
            let rows: Vec<WithdrawalRow> = self.rows(WITHDRAWALS, &parameters, &clock).await?;
            if rows.len() >= ROWS_MAX {
                return Err(unreadable(format!("{} rows for one client id", rows.len())));
            }
            let ours = rows.into_iter().filter(|row| row.withdraw_order_id.as_deref() == Some(client_id));
            for row in ours {
                found.push(read_withdrawal(row).map_err(unreadable)?);
            }
        }
        Ok(found)
    }

    pub(super) async fn every_withdrawal(
        &self,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<WithdrawalRecord>, LookupFailed> {
        let rows = self.every(WITHDRAWALS, from_ms, until_ms, now_ms).await?;
        rows.into_iter().map(|row| read_withdrawal(row).map_err(unreadable)).collect()
    }

    pub(super) async fn every_deposit(
        &self,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<DepositListing, LookupFailed> {
        let rows: Vec<DepositRow> = self.every(DEPOSITS, from_ms, until_ms, now_ms).await?;
        let mut listing = DepositListing::default();
        for row in rows {
            match row.read {
                Ok(record) => listing.records.push(record),
                Err(unreadable) => listing.unreadable.push(unreadable),
            }
        }
        Ok(listing)
    }

    /// Every row of a listing.
    async fn every<T: Row>(
        &self,
        path: &str,
        from_ms: i64,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<T>, LookupFailed> {
        let clock = Clock::from(now_ms);
        let mut seen = Seen { rows: Vec::new(), places: HashMap::new() };
        for span in spans(from_ms, until_ms, SPAN_MS)? {
            self.every_page(path, span, &clock, &mut seen).await?;
        }
        Ok(seen.rows)
    }

    /// Every page of one span. The listing has its newest row first and the span's end is fixed: a row that turns up
    /// while pages are read moves others to higher offsets, where they are seen again, and hides none. Binance's pages
    /// promise no order, so each page also begins with the last row of the one before: should that row not have been
    /// seen, rows have gone or changed places, and what is between the pages is unknown.
    async fn every_page<T: Row>(
        &self,
        path: &str,
        (start, end): (i64, i64),
        clock: &Clock,
        seen: &mut Seen<T>,
    ) -> Result<(), LookupFailed> {
        let (start, end, limit) = (start.to_string(), end.to_string(), ROWS_MAX.to_string());
        for page in 0..PAGES_MAX {
            let offset = (page * (ROWS_MAX - 1)).to_string();
            let parameters = [("startTime", start.as_str()), ("endTime", &end), ("limit", &limit), ("offset", &offset)];
            let rows: Vec<T> = self.rows(path, &parameters, clock).await?;
            if page > 0 && !rows.first().is_some_and(|first| seen.knows(first)) {
                return Err(unreadable(format!("page {page} does not go on where the one before it ended")));
            }
            let full = rows.len() >= ROWS_MAX;
            for row in rows {
                seen.add(row);
            }
            if !full {
                return Ok(());
            }
        }
        Err(unreadable(format!("more than {PAGES_MAX} pages")))
    }

    async fn rows<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        clock: &Clock,
    ) -> Result<Vec<T>, LookupFailed> {
        let (status, after, body) = self.look_up(path, parameters, clock.now_ms()).await?;
        if status != StatusCode::OK {
            return Err(LookupFailed { reason: refusal_text(status, &body), after });
        }
        serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))
    }
}

/// The time from `from_ms` to `until_ms`, both included, in pieces that the venue answers.
fn spans(from_ms: i64, until_ms: i64, longest_ms: i64) -> Result<impl Iterator<Item = (i64, i64)>, LookupFailed> {
    if from_ms > until_ms {
        return Err(LookupFailed { reason: "no time to look at".into(), after: None });
    }
    let starts = std::iter::successors(Some(from_ms), move |start| Some(start + longest_ms + 1));
    let starts = starts.take_while(move |start| *start <= until_ms);
    Ok(starts.map(move |start| (start, until_ms.min(start + longest_ms))))
}

fn unreadable(what: impl std::fmt::Display) -> LookupFailed {
    LookupFailed { reason: format!("unreadable history: {what}"), after: None }
}

fn read_withdrawal(row: WithdrawalRow) -> Result<WithdrawalRecord, String> {
    // Wallet API, "Withdraw History": 0 email sent, 1 cancelled, 2 awaiting approval, 3 rejected, 4 processing,
    // 5 failure, 6 completed.
    let state = match row.status {
        0 | 2 | 4 => RecordState::Pending,
        6 => RecordState::Completed,
        1 | 3 | 5 => RecordState::Failed,
        other => return Err(format!("status {other} of withdrawal {}", row.id)),
    };
    for amount in [&row.amount, &row.transaction_fee] {
        Amount::parse_part(amount).map_err(|_| format!("amount {amount:?} of withdrawal {}", row.id))?;
    }
    Ok(WithdrawalRecord {
        id: row.id,
        client_id: row.withdraw_order_id.filter(|id| !id.is_empty()),
        state,
        received: row.amount,
        network_fee: row.transaction_fee,
        tx_id: row.tx_id.filter(|id| !id.is_empty()),
        info: row.info.unwrap_or_default(),
        completed_at: row.complete_time.filter(|time| is_time(time)),
    })
}

/// `YYYY-MM-DD HH:MM:SS`: a text of any other form says nothing.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00 00:00:00"
}

fn read_deposit(row: DepositFields) -> Result<DepositRecord, String> {
    // Wallet API, "Deposit History": 0 pending, 1 success, 2 rejected, 6 credited but cannot withdraw, 7 wrong deposit,
    // 8 waiting for the user to confirm.
    let state = match row.status {
        0 | 8 => DepositState::Pending,
        1 => DepositState::Final,
        6 => DepositState::Locked,
        2 | 7 => DepositState::Rejected,
        other => return Err(format!("status {other}")),
    };
    if row.id.is_empty() {
        return Err("an empty id".into());
    }
    Amount::parse_part(&row.amount).map_err(|_| format!("amount {:?}", row.amount))?;
    let record = DepositRecord {
        id: row.id,
        asset: row.coin,
        network: row.network,
        amount: row.amount,
        address: row.address,
        tag: row.address_tag.filter(|tag| !tag.is_empty()),
        tx_id: row.tx_id.filter(|id| !id.is_empty()),
        state,
        inserted_at_ms: row.insert_time,
    };
    let texts =
        [Some(&record.id), Some(&record.asset), Some(&record.network), record.tag.as_ref(), record.tx_id.as_ref()];
    // The books can't hold it, and would refuse the row each time.
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        return Err("a text with a NUL in it".into());
    }
    Ok(record)
}
