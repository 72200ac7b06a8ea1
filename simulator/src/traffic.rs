//! How many requests there were, and how many of them at the same moment: counted for good, where the log forgets.

use std::collections::BTreeMap;

use serde::Serialize;

/// The requests of one method and path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) method: String,
    pub(crate) path: String,
    /// How many have come in.
    pub(crate) received: u64,
    /// How many of them are being held or worked on.
    pub(crate) in_flight: u64,
    /// How many were so at most.
    pub(crate) most_in_flight: u64,
}

/// Counts by path and method. A request is in flight from its coming in until its answer is given, or it is given up.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    counts: BTreeMap<(String, String), Count>,
}

impl Traffic {
    /// Counts a request that has come in.
    pub(crate) fn begin(&mut self, method: &str, path: &str) {
        let new = || Count { method: method.to_owned(), path: path.to_owned(), ..Count::default() };
        let count = self.counts.entry((path.to_owned(), method.to_owned())).or_insert_with(new);
        count.received += 1;
        count.in_flight += 1;
        count.most_in_flight = count.most_in_flight.max(count.in_flight);
    }

    /// Counts one that is over.
    pub(crate) fn end(&mut self, method: &str, path: &str) {
        if let Some(count) = self.counts.get_mut(&(path.to_owned(), method.to_owned())) {
            count.in_flight = count.in_flight.saturating_sub(1);
        }
    }

    /// What was counted, by path and method.
    pub(crate) fn counts(&self) -> impl Iterator<Item = &Count> {
        self.counts.values()
    }
}

#[cfg(test)]
mod tests {
    use super::Traffic;

    #[test]
    fn the_most_at_once_stays_and_each_kind_is_counted_for_itself() {
        let mut traffic = Traffic::default();
        for _ in 0..2 {
            traffic.begin("POST", "/a");
            traffic.begin("POST", "/a");
            traffic.begin("GET", "/a");
            traffic.end("POST", "/a");
            traffic.begin("POST", "/a");
            traffic.end("POST", "/a");
            traffic.end("POST", "/a");
        }
        let counts: Vec<(&str, u64, u64, u64)> = traffic
            .counts()
            .map(|count| (count.method.as_str(), count.received, count.in_flight, count.most_in_flight))
            .collect();
        assert_eq!(counts, [("GET", 2, 2, 2), ("POST", 6, 0, 2)]);
    }
}
