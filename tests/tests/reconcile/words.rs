//! Goal: an operator's words are understood or refused at once, by the name of what is wrong with them.

use backstop_tests::World;
use serde_json::Value;

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
    let id = format!("{}/{}/full", world.queue().replace("backstop", "reconcile-now"), world.queue());
    let shown = world.status_of(&id).await;
    assert!(shown.steps.len() >= 7 && shown.state == "nothing is wrong", "{shown:?}");
    // As the UI shows it.
    let metadata: Value = world.query_of(&id, "__temporal_workflow_metadata").await;
    let details = metadata["currentDetails"].as_str().unwrap_or_else(|| panic!("{metadata}"));
    assert!(
        details.starts_with("**reconcile**: nothing is wrong\n\n| step | state | undo | note |\n|---|---|---|---|\n"),
        "{details}"
    );
    for step in &shown.steps {
        assert!(details.contains(&format!("\n| {} | done | none", step.step)), "{}: {details}", step.step);
    }
}

/// Where nobody serves, a run waits by itself: it is named, so that it can be ended, and ends by itself one day.
#[tokio::test]
async fn a_run_that_nobody_serves_is_named_and_keeps_no_other_from_being_made() {
    let world = World::new().await;
    let (text, status) =
        says(&world, &["check", "--only", "outbox", "--task-queue", "nobody", "--within-s", "3"]).await;
    let id = text.split("terminate -w ").nth(1).and_then(|rest| rest.split('`').next()).unwrap_or_default().to_owned();
    assert!(status == 2 && id.contains("nobody"), "{text}");
    let described = world.temporal(&["workflow", "describe", "-w", &id, "-o", "json"]).await;
    let described: serde_json::Value = serde_json::from_slice(&described.stdout).unwrap();
    assert_eq!(described["executionConfig"]["workflowExecutionTimeout"], "18000s", "{described}");
    let (text, status) = says(&world, &["check", "--only", "outbox"]).await;
    assert!(status == 0 && text.contains("fine"), "{text}");
    assert!(world.temporal(&["workflow", "terminate", "-w", &id]).await.status.success());
}

#[tokio::test]
async fn all_of_the_books_are_read_when_that_is_asked_for_and_it_is_told_when_that_was() {
    let world = World::new().await;
    let check = async |words: &[&str]| says(&world, &[&["check", "--only", "books"], words].concat()).await.0;
    let text = check(&[]).await;
    assert!(!text.contains("all of the books") && text.contains("all were read never"), "{text}");
    let text = check(&["--full"]).await;
    assert!(text.contains("all of the books"), "{text}");
    let earlier = "UPDATE watermarks SET at_ms = at_ms - 5 * 3600000 WHERE name = 'books/full'";
    sqlx::query(earlier).execute(&mut world.database.owner().await).await.unwrap();
    let text = check(&[]).await;
    assert!(!text.contains("all of the books") && text.contains("all were read 5 h ago"), "{text}");
}

#[tokio::test]
async fn a_finding_is_shown_with_its_evidence() {
    let world = World::without_worker().await;
    let found = r#"SELECT find('fill_differs', 'fill/o-1/7', 'critical', '{"booked": "0.1", "record": "0.2"}')"#;
    sqlx::query(found).execute(&mut world.database.owner().await).await.unwrap();
    let id: i64 =
        sqlx::query_scalar("SELECT max(id) FROM findings").fetch_one(&mut world.database.owner().await).await.unwrap();
    let (text, status) = says(&world, &["findings", "show", &id.to_string()]).await;
    for word in ["fill_differs", "fill/o-1/7", "critical", "booked", "0.2"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(status, 0);
}
