//! Goal: while everything is as it should be, nothing is found, however much is under way.

use std::time::{Duration, Instant};

use backstop_tests::{End, World, books_checker, rewards::reward_workflow, world::program};
use serde_json::json;
use sqlx::PgConnection;
use tokio::process::Command;
use uuid::Uuid;

/// How long it goes on, unless `CUSTODY_LOAD_S` says so.
const LOAD: Duration = Duration::from_secs(20);
/// How long a booking takes to commit.
const LATE: Duration = Duration::from_secs(3);

fn word() -> serde_json::Value {
    json!({"operator": "olga", "reason": "a test"})
}

async fn maker(world: &World, tick_ms: u64) -> String {
    let (key, user) = (format!("mm-{}", Uuid::now_v7()), world.depositor().await);
    let input = json!({
        "start_id": format!("start-{key}"), "strategy_key": key, "user_id": user, "venue": "binance",
        "pair": "BTC/USDT", "requested_by": "rita", "tick_ms": tick_ms,
        "parameters": {"spread_bps": 10, "order_size": "0.01", "layers": 2, "layer_step_bps": 5,
                       "refresh_tolerance_bps": 5},
    });
    let id = format!("strategy/{key}");
    world.start_any("RunStrategy", &id, &input).await;
    id
}

/// A deposit that the exchange shows while another reader's booking takes its time to commit.
async fn booked_late(world: &World, tag: &str) -> PgConnection {
    let id = Uuid::now_v7().simple().to_string();
    let mut books = world.database.worker().await;
    sqlx::raw_sql("BEGIN").execute(&mut books).await.unwrap();
    let observe = sqlx::query("SELECT deposit_observe('binance', $1, 'BTC', 'BTC', 0.1, $2)").bind(&id).bind(tag);
    observe.execute(&mut books).await.unwrap();
    world.exchange.deposit_as(&id, tag, "BTC", "0.1", 1).await;
    books
}

/// A world whose venue is watched, and whose events go to a file.
async fn busy_world() -> World {
    let mut world = World::without_worker().await;
    world.watch();
    world.settings_for_publishing("a-secret", "1000");
    world.start_worker().await;
    let file = format!("file://{}", world.directory().join("events.jsonl").display());
    let mut command = Command::new(program("backstop"));
    command.args(["outbox", "endpoint", "add", "ledger", &file, "--by", "olga", "--reason", "to see"]);
    let added = command.env("DATABASE_URL", world.database.url()).output().await.unwrap();
    assert!(added.status.success(), "{added:?}");
    world
}

/// Strategies that trade in a market that moves, trades that show late, answers that come late, bookings that commit late,
/// refunds, rewards and deposits, read and unread, and events that are delivered; every check, of all of the books.
#[tokio::test]
async fn nothing_is_found_while_everything_is_as_it_should_be() {
    let seconds = std::env::var("CUSTODY_LOAD_S").ok().and_then(|text| text.parse().ok());
    let load = seconds.map_or(LOAD, Duration::from_secs);
    let world = busy_world().await;
    let settings = json!({"price_volatility": "0.001", "trade_delay_ms": 400, "fill_share": "0.4"});
    world.exchange.set(settings).await;
    let late = |ms: u32, seed: u32| json!({"fault": "delay_answer", "ms": ms, "probability": 0.1, "seed": seed});
    for (n, path) in ["/api/v3/order", "/api/v3/openOrders", "/api/v3/account", "/sapi/v1/capital/withdraw/history"]
        .into_iter()
        .enumerate()
    {
        world.exchange.fault_for_all(path, late(300, u32::try_from(n).unwrap())).await;
    }
    let depositor = world.depositor().await;
    let route = sqlx::query("INSERT INTO deposit_routes (venue, tag, owner) VALUES ('binance', $1, $1)");
    route.bind(&depositor).execute(&mut world.database.owner().await).await.unwrap();
    let pool = world.true_pool("5").await;
    let makers = [maker(&world, 500).await, maker(&world, 700).await];
    let began = Instant::now();
    let (mut refunds, mut rewards, mut runs, mut stood_still) = (Vec::new(), Vec::new(), 0, 0);
    while began.elapsed() < load || runs < 3 {
        // Far enough for every quote of one side.
        let price = if runs % 2 == 0 { "100500" } else { "100000" };
        world.exchange.set(json!({"prices": {"BTCUSDT": price}})).await;
        let refund = world.true_refund().await;
        refunds.push(world.start(&refund).await);
        let reward = world.reward(&pool, "0.001");
        world.start_any("DistributeReward", &reward_workflow(&reward), &reward).await;
        rewards.push(reward_workflow(&reward));
        let mut late = booked_late(&world, &depositor).await;
        let commit = async {
            tokio::time::sleep(LATE).await;
            sqlx::raw_sql("COMMIT").execute(&mut late).await.unwrap();
        };
        let (report, ()) = futures::join!(world.check_everything(), commit);
        assert!(report.checks.iter().all(|check| check.looked && check.deviations == 0), "{report:?}");
        assert!(report.findings.is_empty() && report.summary == "nothing is wrong", "{report:?}");
        runs += 1;
        stood_still += u32::from(!report.checks.iter().any(|check| check.note.contains("moved during")));
    }
    for maker in &makers {
        world.update(maker, "stop", word()).await.unwrap();
        assert!(matches!(world.end_of(maker).await, End::Result(_)));
    }
    for refund in &refunds {
        world.reaches(refund, "settled").await;
    }
    for reward in &rewards {
        assert_eq!(world.end_of(reward).await.kind(), "distributed");
    }
    let report = world.check_everything().await;
    let custody = report.checks.iter().find(|check| check.check == "custody").unwrap();
    assert!(custody.looked && !custody.note.contains("moved"), "{report:?}");
    let mut owner = world.database.owner().await;
    // But that the pool's deposit was nobody's at first.
    let findings: Vec<String> =
        sqlx::query_scalar("SELECT kind || ' ' || subject FROM findings WHERE subject <> 'deposit/binance/' || $1")
            .bind(&pool)
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(findings, Vec::<String>::new());
    let fills: i64 = sqlx::query_scalar("SELECT count(*) FROM fills").fetch_one(&mut owner).await.unwrap();
    assert!(fills > 0, "nothing was traded");
    let entries: i64 = sqlx::query_scalar("SELECT count(*) FROM entries").fetch_one(&mut owner).await.unwrap();
    let delivered = std::fs::read_to_string(world.directory().join("events.jsonl")).unwrap().lines().count();
    assert!(delivered > refunds.len(), "{delivered} events were delivered");
    let unsound = books_checker::check(&mut owner).await;
    assert!(unsound.is_empty(), "{unsound:?}");
    eprintln!(
        "{} s of load: {runs} runs of every check, of which {stood_still} saw every asset stand still; {fills} fills, {} refunds, {} \
         rewards, {entries} entries, {delivered} events delivered; nothing was found",
        began.elapsed().as_secs(),
        refunds.len(),
        rewards.len(),
    );
}
