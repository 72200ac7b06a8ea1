//! How each fault is brought about. What was meant to happen and did not is an error of the cell, never a pass.

use backstop::{serve::register_search_attributes, stack::wait_until};

use super::{
    cell::Run,
    faults::{Fault, posted},
    flow,
    golden::Variant,
    operation::Disturbed,
};
use crate::{exchange::ORDER, world::DEADLINE};

/// When an operator is called at the latest where the books have lost history.
const OPERATOR_AFTER_S: u64 = 15;

/// Brings a fault about and follows the operation to its end. Says what was wrong.
pub(super) async fn act(run: &mut Run, fault: &Fault) -> Vec<String> {
    match fault {
        Fault::Killed { variant, at } => killed(run, variant, at).await,
        // Orders are placed and looked for at one path.
        Fault::Venue { kind, path } if path == ORDER && run.operation.places_orders() => {
            at_the_venue(run, kind, path, Some("POST")).await
        }
        Fault::Venue { kind, path } => at_the_venue(run, kind, path, None).await,
        Fault::Lookup { kind, path } => at_the_venue(run, kind, path, Some("GET")).await,
        Fault::Refused => {
            run.begin(&Variant::Refused).await;
            run.pass_through(&Variant::Refused).await;
            run.finish_alone(&[Disturbed::Refused]).await
        }
        Fault::Unreachable { at } => unreachable(run, at).await,
        Fault::PostgresRestarted { at } | Fault::TemporalRestarted { at } => {
            let postgres = matches!(fault, Fault::PostgresRestarted { .. });
            restarted(run, at, postgres).await
        }
        Fault::PostgresRestored { at, from } => restored(run, at, from.as_deref()).await,
        Fault::TemporalLost { at } => temporal_lost(run, at).await,
        Fault::Twice { at } => twice(run, at.as_deref()).await,
        Fault::Cancelled { at } => {
            let variant = Variant::Cancelled { at: at.clone() };
            run.begin(&variant).await;
            run.pass_through(&variant).await;
            run.is_safe().await;
            run.finish_alone(&[Disturbed::Cancelled]).await
        }
        Fault::Terminated { at } => {
            run.hold(at).await;
            flow::terminate(&run.world, &run.order.id).await;
            run.is_safe().await;
            if run.watched && run.world.is_unfinished(&run.order.id).await {
                return run.finish_by_the_watch().await;
            }
            start_again(run, at).await;
            run.finish_alone(&[Disturbed::Not]).await
        }
        Fault::Reset { at } => reset(run, at).await,
        Fault::SignalledTwice => {
            flow::start(&run.world, run.operation.as_ref(), &run.order.id, &run.order, 2).await;
            run.finish_alone(&[Disturbed::Not]).await
        }
    }
}

async fn killed(run: &mut Run, variant: &Variant, at: &str) -> Vec<String> {
    run.world.arm(at, "kill");
    run.begin(variant).await;
    if let Variant::Cancelled { .. } = variant {
        flow::cancel(&run.world, &run.order.id).await;
    }
    run.world.worker_dies().await;
    run.is_safe().await;
    run.world.start_worker().await;
    if let Variant::Cancelled { .. } = variant {
        // Before what is held goes on, which would then be too late to undo.
        run.sees_that_it_is_cancelled().await;
    }
    // A refusal that died with the worker is nobody's: by then the exchange may have changed its mind.
    let ends: &[Disturbed] = match variant {
        Variant::Refused => &[Disturbed::Refused, Disturbed::Not],
        other => other.disturbs(),
    };
    run.finish_alone(ends).await
}

async fn at_the_venue(run: &mut Run, kind: &str, path: &str, method: Option<&str>) -> Vec<String> {
    let mut posted = posted(kind, &mut run.dice);
    if let Some(method) = method {
        posted["method"] = method.into();
    }
    if method == Some("POST") && kind != "429" {
        // What may have been sent is not sent again.
        posted["times"] = 1.into();
    }
    let times = posted["times"].as_u64().unwrap_or(1);
    let fault = run.world.exchange.fault_for_all(path, posted).await;
    run.start().await;
    let struck = async || {
        let log = run.world.exchange.log().await;
        let met = log.iter().filter(|request| request["fault_id"] == *fault && !request["finished_at_ms"].is_null());
        u64::try_from(met.count()).unwrap() >= times
    };
    assert!(wait_until(DEADLINE, struck).await, "the exchange was never asked for {path} {times} times");
    run.is_safe().await;
    run.finish_alone(&[Disturbed::Not]).await
}

/// Away until the worker has called in vain.
async fn unreachable(run: &mut Run, at: &str) -> Vec<String> {
    run.hold(at).await;
    run.world.exchange.vanish().await;
    let after = at.replace(".before", ".after");
    let calls = |run: &Run| run.world.passed().iter().filter(|name| **name == after).count();
    let before = calls(run);
    run.world.disarm(at);
    assert!(wait_until(DEADLINE, async || calls(run) > before).await, "nobody called in vain");
    run.finish_alone(&[Disturbed::Not]).await
}

async fn restarted(run: &mut Run, at: &str, postgres: bool) -> Vec<String> {
    run.hold(at).await;
    let goes_on_meanwhile = run.dice.flip();
    if goes_on_meanwhile {
        run.world.disarm(at);
    }
    if postgres {
        run.world.servers.restart_postgres().await;
    } else {
        run.world.servers.restart_temporal(false).await;
    }
    run.is_safe().await;
    run.finish_alone(&[Disturbed::Not]).await
}

async fn restored(run: &mut Run, at: &str, from: Option<&str>) -> Vec<String> {
    run.operation.hurry(&mut run.order.input, OPERATOR_AFTER_S);
    run.world.arm(at, "hang");
    if let Some(from) = from {
        run.hold(from).await;
        run.world.servers.save_postgres().await;
        run.world.disarm(from);
    } else {
        run.world.servers.save_postgres().await;
        run.start().await;
    }
    run.world.held_at(at).await;
    run.world.servers.restore_postgres().await;
    run.finish_with_restored_books().await
}

async fn temporal_lost(run: &mut Run, at: &str) -> Vec<String> {
    run.hold(at).await;
    run.world.servers.restart_temporal(true).await;
    // As whoever sets up a Temporal does.
    register_search_attributes(&run.world.client, "default").await.unwrap();
    run.is_safe().await;
    // What has left no row yet, nobody but its caller knows of; the watch takes up the rest by itself.
    let adopted = run.world.is_unfinished(&run.order.id).await && run.dice.flip();
    if adopted {
        return run.finish_by_the_watch().await;
    }
    start_again(run, at).await;
    run.finish_alone(&[Disturbed::Not]).await
}

/// Starts it again while what the former run has begun is still held, or just after it was let go.
async fn start_again(run: &mut Run, at: &str) {
    if run.dice.flip() {
        run.world.disarm(at);
    }
    run.start().await;
}

async fn twice(run: &mut Run, at: Option<&str>) -> Vec<String> {
    let (id, other) = (run.order.id.clone(), run.order.other_id());
    let second = flow::start(&run.world, run.operation.as_ref(), &other, &run.order, 1);
    if let Some(at) = at {
        run.world.arm(at, "hang");
        run.start().await;
        run.world.held_at(at).await;
        second.await;
    } else {
        futures::join!(run.start(), second);
    }
    run.finish(&[(id, &[Disturbed::Second]), (other, &[Disturbed::Second])]).await
}

async fn reset(run: &mut Run, at: &str) -> Vec<String> {
    run.hold(at).await;
    if !reset_works(run).await {
        // There is no workflow task to go back to before the first one is done.
        run.world.disarm(at);
        assert!(wait_until(DEADLINE, async || reset_works(run).await).await, "it can't be reset");
    }
    run.is_safe().await;
    run.finish_alone(&[Disturbed::Not]).await
}

async fn reset_works(run: &Run) -> bool {
    let words = ["workflow", "reset", "-w", &run.order.id, "--type", "FirstWorkflowTask", "--reason", "a test"];
    run.world.temporal(&words).await.status.success()
}
