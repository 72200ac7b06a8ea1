//! Goal: books that were put back to an earlier moment are noticed by the next run, and nothing is paid or ordered in them until
//! an operator has compared and resumed.

use backstop_tests::{World, servers::Own, world::payout_id};
use serde_json::json;

use crate::{check, found, says};

#[tokio::test]
async fn books_that_were_put_back_are_halted_until_an_operator_resumes() {
    let mut world = World::without_worker_on(Own { postgres: true, ..Own::default() }).await;
    world.start_worker().await;
    let (first, second, third) = (world.refund().await, world.refund().await, world.refund().await);
    assert_eq!(world.run(&first).await.kind(), "settled");
    assert_eq!(check(&world).await.seal.unwrap().seq, 1);
    world.servers.save_postgres().await;
    assert_eq!(world.run(&second).await.kind(), "settled");
    let sealed = check(&world).await.seal.unwrap();
    assert_eq!(sealed.seq, 2);
    world.servers.restore_postgres().await;
    let report = check(&world).await;
    assert!(report.checks[1].note.contains("an earlier run has seen 2"), "{report:?}");
    let kinds: Vec<&str> = report.findings.iter().map(|finding| finding.kind.as_str()).collect();
    assert_eq!((kinds.as_slice(), report.open_critical), (&["books_restored"][..], 1));
    // A payout waits, as for any halt.
    let id = world.start(&third).await;
    world.shows_failure(&id, "all is halted by reconciliation").await;
    // Found again, it is not halted again once somebody has resumed.
    let resume = ["resume", "--all", "--by", "olga", "--reason", "compared with the exchange"];
    assert!(says(&world, &resume).await.0.contains("No halt is in force"));
    assert_eq!(world.ended(&id).await.kind(), "settled");
    let answer = ["findings", "ack", "1", "--by", "olga", "--reason", "compared with the exchange"];
    assert_eq!(says(&world, &answer).await.1, 0);
    assert_eq!(found(&world).await, Vec::<String>::new());
    assert_eq!(says(&world, &["check", "--only", "seal,books"]).await.1, 0);
    // What the books have lost is not paid again either.
    assert_eq!(world.run(&second).await.kind(), "settled");
    assert_eq!(world.exchange.withdrawals(&payout_id(&second)).await.len(), 1);
    world.servers.stop().await;
}

/// After the first time the books seal anew, below what was said before.
#[tokio::test]
async fn books_that_are_put_back_a_second_time_are_halted_again() {
    let mut world = World::without_worker_on(Own { postgres: true, ..Own::default() }).await;
    world.start_worker().await;
    let resume = ["resume", "--all", "--by", "olga", "--reason", "compared with the exchange"];
    assert_eq!(check(&world).await.seal.unwrap().seq, 1);
    world.servers.save_postgres().await;
    for seq in [2, 3, 4] {
        assert_eq!(world.run(&world.refund().await).await.kind(), "settled");
        assert_eq!(check(&world).await.seal.unwrap().seq, seq);
    }
    world.servers.restore_postgres().await;
    let report = check(&world).await;
    assert!(report.checks[1].note.contains("an earlier run has seen 4"), "{report:?}");
    assert!(says(&world, &resume).await.0.contains("No halt is in force"));
    let note = check(&world).await.checks.remove(1).note;
    assert!(note.contains("an operator has resumed") && !note.contains("everything is halted"), "{note}");
    assert_eq!(says(&world, &["findings", "ack", "1", "--by", "olga", "--reason", "compared"]).await.1, 0);
    assert_eq!(world.run(&world.refund().await).await.kind(), "settled");
    assert_eq!(check(&world).await.seal.unwrap().seq, 2);
    world.servers.save_postgres().await;
    assert_eq!(world.run(&world.refund().await).await.kind(), "settled");
    assert_eq!(check(&world).await.seal.unwrap().seq, 3);
    world.servers.restore_postgres().await;
    let report = check(&world).await;
    let note = &report.checks[1].note;
    assert!(note.contains("for which an operator has answered; "), "{note}");
    assert!(note.contains("an earlier run has seen 3") && note.ends_with("everything is halted"), "{note}");
    assert_eq!((report.open_critical, report.findings[0].kind.as_str()), (1, "books_restored"));
    world.servers.stop().await;
}

/// Temporal has lost what it was told, and knows nothing better: the books are sealed anew.
#[tokio::test]
async fn a_temporal_that_remembers_nothing_is_no_reason_to_halt() {
    let mut world = World::without_worker_on(Own { temporal: true, ..Own::default() }).await;
    world.start_worker().await;
    let refund = world.refund().await;
    assert_eq!(world.run(&refund).await.kind(), "settled");
    assert_eq!(check(&world).await.seal.unwrap().seq, 1);
    world.kill_worker().await;
    world.servers.restart_temporal(true).await;
    world.client = backstop::serve::connect_temporal(world.servers.temporal_address(), "default").await.unwrap();
    world.start_worker().await;
    let report = check(&world).await;
    assert_eq!(report.checks[1].note, "no earlier run has sealed anything");
    assert_eq!((report.open_critical, report.seal.unwrap().seq), (0, 1));
    world.start_any("Reconcile", "reconcile/by-hand", &json!({"checks": ["seal"]})).await;
    world.end_of("reconcile/by-hand").await;
    world.servers.stop().await;
}
