//! What both listeners share.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::sync::watch;

use crate::auth::Keys;
use crate::clock::{Millis, wall_ms};
use crate::faults::Faults;
use crate::ledger::Ledger;
use crate::refusal::Refusal;
use crate::request_log::RequestLog;
use crate::spot::engine;
use crate::traffic::Traffic;
use crate::weights::Weights;
use crate::world::World;

/// The exchange. Each part has a lock of its own, held for a moment and never across a wait.
pub(crate) struct App {
    pub(crate) world: World,
    pub(crate) keys: Keys,
    ledger: Mutex<Ledger>,
    faults: Mutex<Faults>,
    log: Mutex<RequestLog>,
    traffic: Mutex<Traffic>,
    rates: Mutex<Rates>,
    /// True once the exchange is being stopped.
    stopping: watch::Receiver<bool>,
    /// Requests being worked on, also those whose client has gone.
    pub(crate) busy: watch::Sender<usize>,
}

/// What the rate rules need to know about earlier requests.
#[derive(Default)]
struct Rates {
    last_request_ms: Option<Millis>,
    weights: Weights,
}

impl App {
    /// Opens the books.
    pub(crate) fn open(journal: &Path, keys: Keys, stopping: watch::Receiver<bool>) -> Result<Self> {
        let world = World::load()?;
        let ledger = Ledger::open(journal, &world)?;
        Ok(Self {
            world,
            keys,
            ledger: Mutex::new(ledger),
            faults: Mutex::default(),
            log: Mutex::default(),
            traffic: Mutex::default(),
            rates: Mutex::default(),
            stopping,
            busy: watch::Sender::new(0),
        })
    }

    /// The books, with everything booked that has happened on the market by now.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = lock(&self.ledger);
        if let Err(error) = engine::advance(&mut ledger, &self.world, wall_ms()) {
            // It stays due, and is tried again the next time somebody looks.
            tracing::error!(%error, "the journal cannot be written");
        }
        ledger
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, RequestLog> {
        lock(&self.log)
    }

    pub(crate) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        lock(&self.traffic)
    }

    /// Waits until the exchange is told to stop.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.clone();
        // A closed channel says that nobody is left to serve, which is a stop too.
        async move { drop(stopping.wait_for(|stopping| *stopping).await) }
    }

    /// Counts a request's weight.
    pub(crate) fn charge(&self, method: &str, path: &str) -> Weights {
        lock(&self.rates).weights.charge(method, path, wall_ms())
    }

    /// The rate rules of the settings; they come before anything else, faults included.
    pub(crate) fn gate(&self) -> Result<(), Refusal> {
        let now = wall_ms();
        let (interval, banned_until) = {
            let ledger = self.ledger();
            let settings = ledger.settings();
            (settings.min_request_interval_ms, settings.banned_until_ms)
        };
        let last = lock(&self.rates).last_request_ms.replace(now);
        if now < banned_until {
            let seconds = (banned_until - now).unsigned_abs().div_ceil(1000);
            return Err(Refusal::banned(seconds, banned_until));
        }
        if last.is_some_and(|last| now - last < interval) {
            return Err(Refusal::rate_limited(1));
        }
        Ok(())
    }
}

/// A lock whose last holder panicked is still good: every change is made in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
