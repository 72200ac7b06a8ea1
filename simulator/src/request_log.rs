//! What was asked and what was answered, in memory.

use std::collections::VecDeque;

use serde::Serialize;

use crate::clock::Millis;

/// Entries kept; older ones are forgotten.
const CAPACITY: usize = 10_000;

/// A request of the public API.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    /// Counts from 1.
    pub(crate) seq: u64,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The `withdrawOrderId`, `origClientOrderId` or `newClientOrderId` parameter, or that of the order asked for by id.
    pub(crate) client_id: Option<String>,
    pub(crate) received_at_ms: Millis,
    /// The same in microseconds: what calls are apart.
    pub(crate) received_at_us: i64,
    /// `None` while the request is being held or worked on.
    pub(crate) finished_at_ms: Option<Millis>,
    /// HTTP status sent; `None` when the connection was closed without an answer.
    pub(crate) status: Option<u16>,
    /// The exchange's error code, also of an answer that was lost.
    pub(crate) code: Option<i32>,
    /// The withdrawal the request created or found, also when the answer was lost.
    pub(crate) withdrawal_id: Option<String>,
    /// The order the request was about, also when the answer was lost.
    pub(crate) order_id: Option<String>,
    /// Name of the fault that was applied.
    pub(crate) fault: Option<String>,
    pub(crate) fault_id: Option<String>,
}

/// How a request ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<i32>,
    pub(crate) withdrawal_id: Option<String>,
    pub(crate) order_id: Option<String>,
}

/// A bounded ring of entries.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    entries: VecDeque<Entry>,
    last_seq: u64,
}

impl RequestLog {
    /// Notes the arrival of a request and hands out its number.
    pub(crate) fn begin(&mut self, method: &str, path: &str, client_id: Option<String>, now_us: i64) -> u64 {
        self.last_seq += 1;
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            seq: self.last_seq,
            method: method.to_owned(),
            path: path.to_owned(),
            client_id,
            received_at_ms: now_us / 1_000,
            received_at_us: now_us,
            finished_at_ms: None,
            status: None,
            code: None,
            withdrawal_id: None,
            order_id: None,
            fault: None,
            fault_id: None,
        });
        self.last_seq
    }

    /// Notes which fault a request met.
    pub(crate) fn note_fault(&mut self, seq: u64, fault: &str, fault_id: &str) {
        if let Some(entry) = self.find(seq) {
            entry.fault = Some(fault.to_owned());
            entry.fault_id = Some(fault_id.to_owned());
        }
    }

    /// Notes what a request came to.
    pub(crate) fn finish(&mut self, seq: u64, outcome: Outcome, now: Millis) {
        if let Some(entry) = self.find(seq) {
            entry.finished_at_ms = Some(now);
            entry.status = outcome.status;
            entry.code = outcome.code;
            entry.withdrawal_id = outcome.withdrawal_id;
            entry.order_id = outcome.order_id;
        }
    }

    /// Entries, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    fn find(&mut self, seq: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.seq;
        let place = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.entries.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY, Outcome, RequestLog};

    #[test]
    fn forgets_the_oldest_and_still_finds_the_rest() {
        let mut log = RequestLog::default();
        let first = log.begin("GET", "/", None, 0);
        for _ in 0..CAPACITY {
            log.begin("GET", "/", None, 0);
        }
        let last = log.begin("GET", "/last", None, 1);
        log.finish(first, Outcome::default(), 9);
        log.finish(last, Outcome::default(), 9);
        let finished: Vec<u64> =
            log.entries().filter(|entry| entry.finished_at_ms.is_some()).map(|entry| entry.seq).collect();
        assert_eq!(finished, [last]);
        assert_eq!(log.entries().count(), CAPACITY);
    }
}
