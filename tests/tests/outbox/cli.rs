use crate::scene::Scene;

#[tokio::test]
async fn what_an_operator_says_wrong_is_refused_by_name_and_changes_nothing() {
    let mut scene = Scene::without_worker().await;
    let signed = ["--by", "olga", "--reason", "ticket 9"];
    let add = ["outbox", "endpoint", "add"];
    scene.endpoint("shop", "https://shop.example/hook", &[]).await;
    let refusals: &[(&[&str], &str)] = &[
        (&["outbox", "endpoint", "add", "Shop", "https://shop.example/hook"], "name: expected"),
        (&["outbox", "endpoint", "add", "s", "ftp://shop.example/hook"], "url: expected"),
        (&["outbox", "endpoint", "add", "s", "https://me:secret@shop.example/hook"], "url: expected"),
        (&["outbox", "endpoint", "add", "s", "file:events.jsonl"], "url: expected"),
        (&["outbox", "endpoint", "add", "s", "file:///"], "url: expected"),
        (&["outbox", "endpoint", "add", "s", "https://shop.example/hook", "--kind", "payout.%"], "kind: expected"),
        (&["outbox", "endpoint", "add", "shop", "https://shop.example/other"], "another url"),
        (&["outbox", "endpoint", "add", "shop", "https://shop.example/hook", "--kind", "payout.*"], "another kind"),
        (
            &["outbox", "endpoint", "add", "shop", "https://shop.example/hook", "--from-beginning"],
            "another from_beginning",
        ),
        (&["outbox", "endpoint", "remove", "other"], "name: there is no endpoint other"),
        (&["outbox", "redeliver", "--endpoint", "other", "--all"], "there is no endpoint other"),
        (&["outbox", "redeliver", "--endpoint", "shop", "--aggregate", "a"], "no delivery of a to shop is dead"),
        (&["outbox", "skip", "--endpoint", "shop"], "--aggregate"),
        (&["outbox", "skip", "--all"], "--endpoint"),
    ];
    for (words, says) in refusals {
        let said = scene.world.backstop(&[words, &signed[..]].concat()).await.unwrap_err();
        assert!(said.contains(says), "{words:?}: {said}");
    }
    for (word, left) in [("--reason", &signed[..2]), ("reason: expected", &["--by", "olga", "--reason", ""])] {
        let said = scene.world.backstop(&[&add[..], &["s", "https://s.example"], left].concat()).await.unwrap_err();
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(scene.texts("SELECT name || ' ' || url FROM endpoints").await, ["shop https://shop.example/hook"]);
    let acts = "SELECT concat_ws(' ', act, subject, operator, evidence) FROM operator_acts";
    assert_eq!(scene.texts(acts).await, ["add endpoint shop https://shop.example/hook olga ticket 5"]);
}

#[tokio::test]
async fn what_an_operator_asks_is_answered() {
    let scene = Scene::without_worker().await;
    assert_eq!(scene.world.backstop(&["outbox", "status"]).await.unwrap(), "no endpoint gets events\n");
    scene.endpoint("shop", "https://shop.example/hook", &["--kind", "payout.*", "--kind", "entry.*"]).await;
    let said = scene.world.backstop(&["outbox", "endpoint", "list"]).await.unwrap();
    assert_eq!(said, "shop: https://shop.example/hook (payout.*, entry.*)\n");
    assert_eq!(scene.world.backstop(&["outbox", "status"]).await.unwrap(), "shop: has everything\n");
    assert_eq!(scene.world.backstop(&["outbox", "list"]).await.unwrap(), "all is delivered\n");
    assert_eq!(scene.world.backstop(&["outbox", "list", "--dead"]).await.unwrap(), "nothing was given up\n");
    let again =
        ["outbox", "endpoint", "add", "shop", "https://shop.example/hook", "--kind", "payout.*", "--kind", "entry.*"];
    let said = scene.world.backstop(&[&again[..], &["--by", "otto", "--reason", "again"]].concat()).await.unwrap();
    assert!(said.contains("was there before") && said.contains("BACKSTOP_WEBHOOK_SECRET_SHOP"), "{said}");
    let remove = ["outbox", "endpoint", "remove", "shop", "--by", "otto", "--reason", "gone"];
    scene.world.backstop(&remove).await.unwrap();
    assert_eq!(scene.world.backstop(&["outbox", "endpoint", "list"]).await.unwrap(), "no endpoint gets events\n");
}
