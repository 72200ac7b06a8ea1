//! Goal: what may have run is undone, in reverse, whatever happens to the undoing; and nothing is undone past the pivot.

use std::time::Duration;

use backstop::stack::wait_until;
use temporalio_client::{WorkflowCancelOptions, WorkflowSignalOptions};

use crate::toy::{End, Script, Stage, Toy, Word};

const DEADLINE: Duration = Duration::from_secs(60);

fn undone(reason: &str) -> End {
    End::Undone(reason.to_owned())
}

/// Runs the toy by the script to its end: how it ended, what was called, and its steps.
async fn run(script: &Script) -> (End, Vec<String>, Vec<String>) {
    Stage::play(script, async |stage| {
        let id = stage.start().await;
        let end = stage.end(&id).await;
        (end, script.calls(), stage.steps(&id).await)
    })
    .await
}

#[tokio::test]
async fn a_saga_whose_steps_succeed_crosses_its_pivot_and_undoes_nothing() {
    let (end, calls, _) = run(&Script::default()).await;
    assert_eq!(end, End::Past(true));
    assert_eq!(calls, ["make a", "make b", "make c", "make p"]);
}

#[tokio::test]
async fn a_failed_step_is_undone_too_and_all_before_it_in_reverse() {
    let (end, calls, steps) = run(&Script::default().says("make c", &[Word::Refuses("InsufficientFunds")])).await;
    assert_eq!(end, undone("make c refused"));
    assert_eq!(calls, ["make a", "make b", "make c", "unmake c", "unmake a"]);
    assert_eq!(steps, ["make a: Undone (make c refused)", "make b: Done ()", "make c: Undone (make c refused)"]);
}

#[tokio::test]
async fn a_step_whose_refusal_proves_that_nothing_of_ours_ran_is_not_undone() {
    for kind in ["Conflict", "Held", "Abandoned", "InvalidInput"] {
        let (end, calls, _) = run(&Script::default().says("make c", &[Word::Refuses(kind)])).await;
        assert_eq!(end, undone("make c refused"));
        assert_eq!(calls, ["make a", "make b", "make c", "unmake a"], "after {kind}");
    }
}

#[tokio::test]
async fn a_refusal_of_a_step_without_undo_leaves_the_undos_of_others_alone() {
    let (end, calls, _) = run(&Script::default().says("make b", &[Word::Refuses("Conflict")])).await;
    assert_eq!(end, undone("make b refused"));
    assert_eq!(calls, ["make a", "make b", "unmake a"]);
}

#[tokio::test]
async fn a_step_that_fails_locally_is_tried_again_as_a_regular_activity_until_it_succeeds() {
    let script =
        Script::default().says("make c", &[const { Word::Fails }; 6].into_iter().chain([Word::Ok]).collect::<Vec<_>>());
    let (end, _, _) = run(&script).await;
    assert_eq!((end, script.count("make c")), (End::Past(true), 7));
}

#[tokio::test]
async fn an_undo_that_fails_is_tried_until_it_succeeds() {
    let words: Vec<Word> = [const { Word::Fails }; 6].into_iter().chain([Word::Ok]).collect();
    let script = Script::default().says("make c", &[Word::Refuses("Frozen")]).says("unmake c", &words);
    let (end, calls, _) = run(&script).await;
    assert_eq!(end, undone("make c refused"));
    assert_eq!((calls.last().map(String::as_str), script.count("unmake c")), (Some("unmake a"), 7));
}

#[tokio::test]
async fn an_undo_that_is_refused_for_good_waits_for_an_operator_and_is_then_tried_again() {
    let script =
        Script::default().says("make c", &[Word::Refuses("Frozen")]).says("unmake c", &[Word::Refuses("NotAllowed")]);
    Stage::play(&script, async |stage| {
        let id = stage.start().await;
        let asked = wait_until(DEADLINE, async || stage.status(&id).await.waiting_for.is_some());
        assert!(asked.await, "no operator was called");
        assert_eq!(stage.steps(&id).await[2], "make c: UndoRefused (unmake c refused)");
        assert_eq!(script.count("unmake a"), 0, "the undoing went on out of order");
        script.set("unmake c", Word::Ok);
        let handle = stage.client.get_workflow_handle::<Toy>(&id);
        handle.signal(Toy::resolve, (), WorkflowSignalOptions::default()).await.unwrap();
        assert_eq!(stage.end(&id).await, undone("make c refused"));
        assert_eq!(script.calls().last().map(String::as_str), Some("unmake a"));
    })
    .await;
}

#[tokio::test]
async fn a_pivot_that_failed_is_undone_unless_an_undo_says_that_it_is_too_late() {
    let script = Script::default().says("make p", &[Word::Fails]);
    let (end, calls, _) = run(&script).await;
    assert_eq!(end, undone("make p failed"));
    assert_eq!(calls, ["make a", "make b", "make c", "make p", "unmake c", "unmake a"]);

    let script = script.says("unmake c", &[Word::Refuses("TooLate")]);
    let (end, calls, _) = run(&script).await;
    assert_eq!(end, End::Past(false));
    assert!(!calls.ends_with(&["unmake a".to_owned()]), "undone past the pivot: {calls:?}");
}

#[tokio::test]
async fn a_cancelled_saga_is_undone_although_its_undo_fails_at_first() {
    let script = Script::default().says("make p", &[Word::Hangs]).says("unmake a", &[Word::Fails, Word::Ok]);
    Stage::play(&script, async |stage| {
        let id = stage.start().await;
        assert!(wait_until(DEADLINE, async || script.count("make p") == 1).await);
        let handle = stage.client.get_workflow_handle::<Toy>(&id);
        handle.cancel(WorkflowCancelOptions::default()).await.unwrap();
        assert_eq!(stage.end(&id).await, undone("cancelled"));
        assert_eq!(script.calls()[4..], ["unmake c", "unmake a"]);
    })
    .await;
}
