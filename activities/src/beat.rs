//! How activities that take long stay alive in Temporal's eyes, and how long they leave a neighbour alone.

use std::{future::Future, time::Duration};

use temporalio_common::data_converters::TemporalSerializable;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::failure::Failure;

const POLL_FIRST: Duration = Duration::from_millis(250);
/// Often enough for the server to notice within its heartbeat timeout that a worker has died.
pub(crate) const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);

/// What is left of an execution's time for its answer.
const TO_ANSWER: Duration = Duration::from_millis(500);

/// Grows by half with every try, up to the longest.
fn pause(tries: u32, longest: Duration) -> Duration {
    let grown = (1..tries.min(32)).fold(POLL_FIRST, |pause, _| longest.min(pause * 3 / 2));
    grown.min(longest)
}

/// Runs `work` while telling the server that this worker lives, so that its death is noticed within the heartbeat timeout.
/// What is to be tried again and names no pause gets one that grows up to `longest`: nothing that is down is hammered.
pub(crate) async fn beating<T>(
    ctx: &ActivityContext,
    longest: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, ActivityError> {
    beating_at(ctx, longest, || (), work).await
}

/// The same, and says how far it has come, so that the next try goes on there.
pub(crate) async fn beating_at<T, P: TemporalSerializable + 'static>(
    ctx: &ActivityContext,
    longest: Duration,
    place: impl Fn() -> P,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, ActivityError> {
    let mut work = std::pin::pin!(work);
    let mut beats = tokio::time::interval(HEARTBEAT_EVERY);
    loop {
        tokio::select! {
            result = &mut work => {
                if result.is_err() {
                    let _ = ctx.record_heartbeat(place()).await;
                }
                let pause = pause(ctx.info().attempt, longest);
                return result.map_err(|failure| failure.not_before(pause).into());
            }
            _ = beats.tick() => { let _ = ctx.record_heartbeat(place()).await; }
        }
    }
}

/// Runs `work` for no longer than this execution may take, so that what the server has given up does not go on beside what
/// it does instead.
pub(crate) async fn in_time<T>(
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let info = ctx.info();
    // Both by the server's clock: how far it is from ours does not matter.
    let given =
        info.deadline.zip(info.started_time).and_then(|(deadline, started)| deadline.duration_since(started).ok());
    let Some(given) = given else { return work.await };
    let message = || format!("not done within {} ms", given.as_millis());
    let late = |_| Err(Failure::Again { kind: "TooSlow", message: message(), after: None });
    tokio::time::timeout(given.saturating_sub(TO_ANSWER), work).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, POLL_FIRST, pause};

    #[test]
    fn pauses_grow_with_every_try_up_to_the_longest() {
        let longest = Duration::from_secs(2);
        let pauses: Vec<Duration> = (1..=60).map(|tries| pause(tries, longest)).collect();
        assert_eq!(pauses[0], POLL_FIRST);
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1] || pair == [longest, longest]), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&longest));
        assert_eq!(pause(1, Duration::from_millis(10)), Duration::from_millis(10));
    }

    #[test]
    fn a_failure_without_a_pause_of_its_own_gets_one_and_another_keeps_its_own() {
        let (given, own) = (Duration::from_secs(1), Duration::from_secs(600));
        for (after, expected) in [(None, given), (Some(own), own)] {
            let failure = Failure::Again { kind: "NotSent", message: String::new(), after };
            assert!(
                matches!(failure.not_before(given), Failure::Again { after: Some(pause), .. } if pause == expected)
            );
        }
    }
}
