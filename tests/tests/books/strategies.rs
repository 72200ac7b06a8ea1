//! Goal: a start of a strategy that has an id happens once, whoever repeats it, and however late.

use backstop_activities::books::BooksError;
use backstop_domain::{RefusalKind, strategy::Word};
use futures::future::join_all;
use serde_json::json;

use crate::{
    desk::{Desk, assert_refused},
    stock::STRATEGY,
};

const HOLDER: &str = "strategy/mm";

async fn run_as(desk: &Desk, start_id: &str, holder: &str, spread: u32) -> Result<String, BooksError> {
    let parameters = json!({"spread_bps": spread});
    let sql = "SELECT strategy_run($1, $2, $3, '{}', $4, 'alice', 'binance', 'BTC', 'USDT', $3, 'olga')";
    let query = sqlx::query_scalar(sql).bind(start_id).bind(holder).bind(parameters).bind(STRATEGY);
    Ok(query.fetch_one(desk.books.pool()).await?)
}

async fn run(desk: &Desk, start_id: &str) -> Result<String, BooksError> {
    run_as(desk, start_id, HOLDER, 10).await
}

fn kind(result: Result<String, BooksError>) -> RefusalKind {
    match result {
        Err(BooksError::Refused(refusal)) => refusal.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_start_runs_the_strategy_once_and_never_again_after_its_stop() {
    let mut desk = Desk::open().await;
    assert_eq!(run(&desk, "s-1").await.unwrap(), "running");
    assert_eq!(run(&desk, "s-1").await.unwrap(), "running");
    assert_eq!(desk.texts("SELECT holder FROM unfinished WHERE workflow = 'RunStrategy'").await, [HOLDER]);
    assert!(desk.stop(STRATEGY).await.unwrap());
    assert_eq!(run(&desk, "s-1").await.unwrap(), "stopped");
    assert_eq!(desk.texts("SELECT status FROM strategies").await, ["stopped"]);
    assert_eq!(desk.texts("SELECT holder FROM unfinished").await, Vec::<String>::new());
    assert_eq!(run(&desk, "s-2").await.unwrap(), "running");
    // The first start is over, whatever the strategy does since.
    assert_eq!(run(&desk, "s-1").await.unwrap(), "stopped");
    desk.assert_sound().await;
}

#[tokio::test]
async fn a_start_is_held_by_one_workflow_and_means_one_thing() {
    let desk = Desk::open().await;
    run(&desk, "s-1").await.unwrap();
    assert_eq!(kind(run_as(&desk, "s-1", "another", 10).await), RefusalKind::Held);
    assert_eq!(kind(run_as(&desk, "s-1", HOLDER, 11).await), RefusalKind::Conflict);
    assert_eq!(kind(run(&desk, "s-2").await), RefusalKind::NotAllowed);
}

#[tokio::test]
async fn a_strategy_that_runs_without_a_start_gets_one() {
    let mut desk = Desk::trading().await;
    assert_eq!(run(&desk, "s-1").await.unwrap(), "running");
    assert_eq!(desk.texts("SELECT parameters ->> 'spread_bps' FROM strategies").await, ["10"]);
    // Stopped and run again by other means, it is nobody's start.
    desk.stop(STRATEGY).await.unwrap();
    desk.start(STRATEGY).await.unwrap();
    assert_eq!(run(&desk, "s-1").await.unwrap(), "stopped");
    assert_eq!(desk.texts("SELECT holder FROM unfinished").await, Vec::<String>::new());
}

#[tokio::test]
async fn of_two_first_starts_at_once_one_runs_it() {
    for same in [true, false] {
        let desk = Desk::open().await;
        let ids = ["s-1", if same { "s-1" } else { "s-2" }];
        let ran = join_all(ids.map(|id| run(&desk, id))).await;
        let running = ran.iter().filter(|status| status.as_ref().is_ok_and(|status| status == "running")).count();
        assert_eq!(running, if same { 2 } else { 1 }, "{ran:?}");
    }
}

#[tokio::test]
async fn a_word_is_said_once_and_on_the_record_and_a_new_start_knows_nothing_of_it() {
    let mut desk = Desk::open().await;
    run(&desk, "s-1").await.unwrap();
    let [pause, resume] = [("olga", "odd prices"), ("rita", "prices are fine")].map(|(by, why)| Word {
        operator: by.to_owned().try_into().unwrap(),
        reason: why.to_owned().try_into().unwrap(),
    });
    let say = async |id: &str, paused, word| desk.books.strategy_pause(STRATEGY, id, paused, word).await;
    let paused = async || desk.books.strategy_paused(STRATEGY).await.unwrap();
    assert!(say("run/1", true, &pause).await.unwrap());
    assert_eq!(paused().await, Some(pause.clone()));
    assert!(say("run/2", false, &resume).await.unwrap());
    // Late, from a process that was thought dead.
    assert!(!say("run/1", true, &pause).await.unwrap());
    assert_eq!(paused().await, None);
    assert!(say("run/3", true, &pause).await.unwrap());
    let acts = "SELECT act || ' by ' || operator || ': ' || evidence FROM operator_acts WHERE subject = 'strategy/mm-1' ORDER BY id";
    let [paused_by, resumed_by] =
        ["pause strategy by olga: odd prices", "resume strategy by rita: prices are fine"].map(str::to_owned);
    assert_eq!(desk.texts(acts).await, [paused_by.clone(), resumed_by, paused_by]);
    desk.stop(STRATEGY).await.unwrap();
    let stopped = desk.books.strategy_pause(STRATEGY, "run/4", false, &resume).await;
    assert_refused(stopped, RefusalKind::NotAllowed, "state", "stopped");
    run(&desk, "s-2").await.unwrap();
    assert_eq!(desk.books.strategy_paused(STRATEGY).await.unwrap(), None);
    desk.assert_sound().await;
}

#[tokio::test]
async fn what_nobody_knows_is_refused_by_name() {
    let desk = Desk::open().await;
    for (venue, base, field) in [("nowhere", "BTC", "venue"), ("binance", "NOPE", "pair")] {
        let sql = "SELECT strategy_run('s', 'h', '{}', '{}', 'k', 'alice', $1, $2, 'USDT', '{}', 'olga')";
        let result = sqlx::query_scalar::<_, String>(sql).bind(venue).bind(base).fetch_one(desk.books.pool()).await;
        let Err(BooksError::Refused(refusal)) = result.map_err(BooksError::from) else { panic!("{venue} {base}") };
        assert_eq!(refusal.kind, RefusalKind::InvalidInput);
        assert_eq!(refusal.detail["field"], field);
    }
}
