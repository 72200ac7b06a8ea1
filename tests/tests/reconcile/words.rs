//! Goal: an operator's words are understood or refused at once, by the name of what is wrong with them.

use backstop_tests::World;

use crate::says;

#[tokio::test]
async fn what_is_wrong_with_a_word_is_named_and_nothing_is_changed() {
    let world = World::without_worker().await;
    for (words, said, status) in [
        (&["findings", "show", "7"][..], "there is no finding 7", 1),
        (&["findings", "ack", "7", "--by", "olga", "--reason", "x"], "there is no finding 7", 1),
        (&["findings", "ack", "7", "--by", "olga"], "--reason", 2),
        (&["unfreeze", "--user", "u", "--by", "olga", "--reason", "x"], "--asset", 2),
        (&["unfreeze", "--user", "u", "--asset", "BTC", "--by", "olga", "--reason", "x"], "was not frozen", 0),
        (&["schedules", "apply", "--every-s", "0"], "--every-s", 2),
        (&["findings"], "nothing is wrong that anybody has found", 0),
        (&["findings", "list", "--all", "--json"], "[]", 0),
        (&["check", "--within-s", "1"], "does a worker serve?", 2),
    ] {
        let (text, code) = says(&world, words).await;
        assert!(text.contains(said) && code == status, "{words:?}: {code} {text}");
    }
}

/// For people in a table, for machines in JSON; what a run shows while it goes is in its current details.
#[tokio::test]
async fn a_check_is_a_table_and_the_runs_own_status_has_a_row_for_each() {
    let world = World::new().await;
    let (text, status) = says(&world, &["check", "--full"]).await;
    for name in ["adopt", "seal", "books", "all of the books", "transit", "reservations", "intents"] {
        assert!(text.lines().any(|line| line.starts_with(name) && line.contains("fine")), "{name}: {text}");
    }
    assert!(text.contains("nothing is wrong") && status == 0, "{text}");
    let id = world.queue().replace("backstop", "reconcile-now/full");
    let shown = world.status_of(&id).await;
    assert!(shown.steps.len() >= 7 && shown.state == "nothing is wrong", "{shown:?}");
}
