//! The books: balances, withdrawals, deposits, orders and settings, kept in step with the journal.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use anyhow::Result;
use rust_decimal::Decimal;

use crate::clock::{Millis, wall_ms};
use crate::journal::{Event, Journal};
use crate::model::{Deposit, Withdrawal, WithdrawalState};
use crate::settings::Settings;
use crate::spot::{Book, engine};
use crate::world::World;

/// Everything that survives a restart.
pub(crate) struct Ledger {
    journal: Journal,
    settings: Settings,
    /// Opening balance and later adjustments, by coin; records come on top.
    base: BTreeMap<String, Decimal>,
    withdrawals: Vec<Withdrawal>,
    withdrawal_places: HashMap<String, usize>,
    deposits: Vec<Deposit>,
    book: Book,
    /// The last step of the market that was booked; not kept, as nothing happens while nobody serves.
    booked_until_step: i64,
}

impl Ledger {
    /// Opens the journal and replays it over the world's opening balances.
    pub(crate) fn open(path: &Path, world: &World) -> Result<Self> {
        let (journal, events) = Journal::open(path)?;
        let opening = world.coins.iter();
        let mut ledger = Self {
            journal,
            settings: Settings::default(),
            base: opening.map(|coin| (coin.symbol.to_owned(), coin.opening_balance)).collect(),
            withdrawals: Vec::new(),
            withdrawal_places: HashMap::new(),
            deposits: Vec::new(),
            book: Book::default(),
            booked_until_step: engine::step_of(wall_ms()),
        };
        for event in events {
            ledger.apply(event);
        }
        Ok(ledger)
    }

    /// Writes a change to the journal, then makes it.
    pub(crate) fn record(&mut self, event: Event) -> io::Result<()> {
        self.journal.append(&event)?;
        self.apply(event);
        Ok(())
    }

    /// Sets a free balance, whatever the records say, from this moment on.
    pub(crate) fn set_free(&mut self, coin: &str, wanted: Decimal, now: Millis) -> io::Result<()> {
        let delta = wanted - self.free(coin, now);
        let coin = coin.to_owned();
        self.record(Event::Adjustment { coin, delta })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All withdrawals, oldest first, also those that are hidden or not executed yet.
    pub(crate) fn withdrawals(&self) -> &[Withdrawal] {
        &self.withdrawals
    }

    pub(crate) fn withdrawal(&self, id: &str) -> Option<&Withdrawal> {
        let place = *self.withdrawal_places.get(id)?;
        self.withdrawals.get(place)
    }

    /// The first withdrawal with a client's id.
    pub(crate) fn first_with_client_id(&self, client_id: &str) -> Option<&Withdrawal> {
        self.withdrawals.iter().find(|withdrawal| withdrawal.client_id.as_deref() == Some(client_id))
    }

    /// All deposits, oldest first.
    pub(crate) fn deposits(&self) -> &[Deposit] {
        &self.deposits
    }

    /// Orders and trades.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    pub(crate) fn booked_until_step(&self) -> i64 {
        self.booked_until_step
    }

    pub(crate) fn set_booked_until_step(&mut self, step: i64) {
        self.booked_until_step = step;
    }

    /// What open orders hold of a coin.
    pub(crate) fn locked(&self, coin: &str, now: Millis) -> Decimal {
        self.book.locked(coin, now)
    }

    /// The free balance of a coin at a moment.
    pub(crate) fn free(&self, coin: &str, now: Millis) -> Decimal {
        let base = self.base.get(coin).copied().unwrap_or_default();
        let came = self.deposits.iter().filter(|deposit| deposit.coin == coin);
        let came: Decimal = came.map(Deposit::credited).sum();
        let went: Decimal = self.of_coin(coin).map(|w| w.debited(now)).sum();
        base + came - went + self.book.moved(coin) - self.locked(coin, now)
    }

    /// The free balance less what is already promised to withdrawals and orders executed later.
    pub(crate) fn spendable(&self, coin: &str, now: Millis) -> Decimal {
        let promised: Decimal = self
            .of_coin(coin)
            .filter(|w| w.debits && w.state(now) == WithdrawalState::Accepted)
            .map(|w| w.amount)
            .sum();
        self.free(coin, now) - promised - self.book.promised(coin, now)
    }

    /// What is on its way out: debited, and not final yet.
    pub(crate) fn withdrawing(&self, coin: &str, now: Millis) -> Decimal {
        self.of_coin(coin).filter(|w| w.debits && w.state(now).in_flight()).map(|w| w.amount).sum()
    }

    fn of_coin(&self, coin: &str) -> impl Iterator<Item = &Withdrawal> {
        self.withdrawals.iter().filter(move |w| w.coin == coin)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Settings(settings) => self.settings = settings,
            Event::Adjustment { coin, delta } => *self.base.entry(coin).or_default() += delta,
            Event::Withdrawal(record) => {
                let known = self.withdrawal_places.get(&record.id);
                if let Some(known) = known.and_then(|place| self.withdrawals.get_mut(*place)) {
                    *known = record;
                } else {
                    let place = self.withdrawals.len();
                    self.withdrawal_places.insert(record.id.clone(), place);
                    self.withdrawals.push(record);
                }
            }
            Event::Order(step) => self.book.apply(*step),
            Event::Deposit(record) => {
                let known = self.deposits.iter_mut().find(|known| known.id == record.id);
                match known {
                    Some(known) => *known = record,
                    None => self.deposits.push(record),
                }
            }
        }
    }
}
