//! Goal: deposits that only one side has, or that the two sides tell apart, are found.

use backstop_tests::World;

use crate::{check, damage, finds, finds_nothing, frozen, named};

/// As if somebody had read the venue's deposits from the beginning, and then no more.
async fn reader_is_gone(world: &World) {
    let read = sqlx::query("SELECT watermark_set('deposits/binance/since', 0)");
    read.execute(&mut world.database.worker().await).await.unwrap();
}

#[tokio::test]
async fn one_that_came_in_and_nobody_has_booked() {
    let world = World::new().await;
    let id = world.exchange.deposit("", "BTC", "0.5").await;
    let report = finds_nothing(&world).await;
    assert!(named(&report, "deposits/binance").note.contains("nobody has read the venue's own yet"), "{report:?}");
    reader_is_gone(&world).await;
    finds(&world, &[format!("Critical deposit_missing deposit/binance/{id}")]).await;
    assert_eq!(frozen(&world).await, Vec::<String>::new());
    let book = sqlx::query("SELECT deposit_credit('binance', $1, 'carol', 'BTC', 0.5)").bind(&id);
    book.execute(&mut world.database.worker().await).await.unwrap();
    finds_nothing(&world).await;
    // What is not final yet is nobody's.
    world.exchange.deposit_as("pending", "", "BTC", "0.5", 0).await;
    world.exchange.deposit_as("locked", "", "BTC", "0.5", 6).await;
    finds_nothing(&world).await;
}

/// As if somebody had read all deposits so long ago, from when on the mark only grows.
async fn was_read(world: &World, ago_ms: i64) {
    let read = "INSERT INTO watermarks SELECT 'deposits/binance/read', at_ms(clock_timestamp()) - $1
                ON CONFLICT (name) DO UPDATE SET at_ms = excluded.at_ms";
    sqlx::query(read).bind(ago_ms).execute(&mut world.database.owner().await).await.unwrap();
}

#[tokio::test]
async fn one_that_nobody_can_have_read_yet_is_no_finding_unless_nobody_reads_at_all() {
    let world = World::new().await;
    reader_is_gone(&world).await;
    was_read(&world, 0).await;
    let id = world.exchange.deposit("", "BTC", "0.5").await;
    assert_eq!(named(&finds_nothing(&world).await, "deposits/binance").deviations, 0);
    was_read(&world, 360_000).await;
    finds(&world, &[format!("Critical deposit_missing deposit/binance/{id}")]).await;
    // What is not certain any more is not over either.
    was_read(&world, 0).await;
    assert_eq!(check(&world).await.open_critical, 1);
}

#[tokio::test]
async fn one_that_was_read_and_not_booked_is_missing() {
    let world = World::new().await;
    reader_is_gone(&world).await;
    was_read(&world, 0).await;
    let id = world.exchange.deposit("", "BTC", "0.5").await;
    let readings = async {
        loop {
            was_read(&world, 0).await;
            tokio::task::yield_now().await;
        }
    };
    let missing = [format!("Critical deposit_missing deposit/binance/{id}")];
    tokio::select! {
        _ = finds(&world, &missing) => {}
        () = readings => {}
    }
}

#[tokio::test]
async fn one_that_is_read_while_the_check_waits_is_no_finding() {
    let world = World::watched().await;
    reader_is_gone(&world).await;
    for _ in 0..5 {
        let user = world.depositor().await;
        world.exchange.deposit("", "BTC", "0.5").await;
        let report = check(&world).await;
        assert_eq!(named(&report, "deposits/binance").deviations, 0, "{user}: {report:?}");
    }
}

#[tokio::test]
async fn one_that_the_venue_does_not_have_or_has_otherwise() {
    let world = World::new().await;
    let user = world.depositor().await;
    let account = format!("{user} BTC");
    // Credited, and not at the exchange: it owes more than it holds.
    let credit = sqlx::query("SELECT deposit_credit('binance', 'made-up', $1, 'BTC', 0.5)").bind(&user);
    credit.execute(&mut world.database.worker().await).await.unwrap();
    let custody = "Critical custody_differs asset/BTC".to_owned();
    let absent = "Critical deposit_without_record deposit/binance/made-up".to_owned();
    finds(&world, &[custody.clone(), absent.clone()]).await;
    assert_eq!(frozen(&world).await, [account.as_str()]);
    world.exchange.deposit_as("made-up", "", "BTC", "0.5", 1).await;
    finds_nothing(&world).await;
    // The exchange takes it back.
    world.exchange.deposit_as("made-up", "", "BTC", "0.5", 2).await;
    finds(&world, &[custody, absent]).await;
    assert_eq!(frozen(&world).await, [account.as_str()]);
    world.exchange.deposit_as("made-up", "", "BTC", "0.5", 1).await;
    finds_nothing(&world).await;
    damage(&world, "UPDATE deposits SET amount = 0.6 WHERE deposit_id = 'made-up'".into()).await;
    let entry = "Critical entry_without_row entry/deposit/binance/made-up/1";
    finds(&world, &["Critical deposit_differs deposit/binance/made-up".to_owned(), entry.to_owned()]).await;
    assert_eq!(frozen(&world).await, [account]);
    damage(&world, "UPDATE deposits SET amount = 0.5 WHERE deposit_id = 'made-up'".into()).await;
    finds_nothing(&world).await;
}
