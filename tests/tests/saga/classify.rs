//! Goal: whatever shape Temporal gives an activity's error, workflows see which of four things it means.

use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use uuid::Uuid;

use crate::toy::{End, Once, Script, Stage, Word};

async fn meaning(words: &[Word], local: bool) -> String {
    let script = Script::default().says("make x", words);
    Stage::play(&script, async |stage| {
        let options = WorkflowStartOptions::new(&stage.queue, format!("once/{}", Uuid::now_v7())).build();
        let handle = stage.client.start_workflow(Once::run, local, options).await.unwrap();
        let end = handle.get_result(WorkflowGetResultOptions::default()).await.unwrap();
        let End::Classified(meaning) = end else { panic!("{end:?}") };
        meaning
    })
    .await
}

const REFUSED: &str = r#"Err(Refused(Refusal { kind: Conflict, message: "make x refused", detail: Object {"subject": String("make x")} }))"#;

#[tokio::test]
async fn a_refusal_of_a_local_activity_is_a_refusal() {
    assert_eq!(meaning(&[Word::Refuses("Conflict")], true).await, REFUSED);
}

#[tokio::test]
async fn a_refusal_of_a_regular_activity_is_a_refusal() {
    assert_eq!(meaning(&[Word::Refuses("Conflict")], false).await, REFUSED);
}

#[tokio::test]
async fn polling_that_runs_out_of_time_is_an_expiry_with_the_last_words() {
    assert_eq!(meaning(&[Word::Fails], false).await, r#"Err(Expired("make x failed"))"#);
}

#[tokio::test]
async fn a_call_that_never_ends_is_an_expiry_with_the_last_words_before_it() {
    assert_eq!(meaning(&[Word::Fails, Word::Hangs], false).await, r#"Err(Expired("make x failed"))"#);
}

#[tokio::test]
async fn a_refusal_of_an_unknown_type_is_no_refusal() {
    assert_eq!(meaning(&[Word::Refuses("Whatever")], false).await, r#"Err(Failed("make x refused"))"#);
}
