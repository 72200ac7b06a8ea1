//! Goal: no more intents are in flight than the gates let through, of a strategy one, in the order of their tickets; and a
//! claim is its intent's, from the one commit to the other.

use backstop::stack::wait_until;
use backstop_activities::books::Books;
use backstop_domain::{RefusalKind, machine::IntentState};
use futures::future::join_all;

use crate::{
    desk::{DEADLINE, Desk, HOLDER, assert_refused},
    stock::{cancel_intent, place_intent_of},
};

/// Intents that were in flight together with each claim, at the moment of that claim, at most; `$1` is a venue, or none.
const MOST_AT_ONCE: &str = "
    SELECT coalesce(max(n), 0) FROM (
        SELECT (SELECT count(*) FROM intents AS b
                 WHERE b.claimed_at <= a.claimed_at AND (b.ended_at IS NULL OR b.ended_at > a.claimed_at)
                   AND ($1 IS NULL OR b.venue = $1)) AS n
          FROM intents AS a WHERE a.claimed_at IS NOT NULL AND ($1 IS NULL OR a.venue = $1)) AS counts";

impl Desk {
    async fn most_at_once(&mut self, venue: Option<&str>) -> i64 {
        sqlx::query_scalar(MOST_AT_ONCE).bind(venue).fetch_one(&mut self.owner).await.unwrap()
    }

    /// An intent with a strategy of its own, of the same name.
    async fn waiting(&self, name: &str) {
        self.start(name).await.unwrap();
        self.books.intent_open(&place_intent_of(name, name), HOLDER).await.unwrap();
    }

    async fn claims(&self, name: &str) -> bool {
        self.books.intent_claim(name, HOLDER).await.unwrap().claimed
    }
}

#[tokio::test]
async fn each_gate_lets_through_what_it_is_set_to_and_says_what_is_waited_for() {
    let mut desk = Desk::open().await;
    assert_eq!(desk.books.gate_set(Some("binance"), 2).await.unwrap(), 20);
    for name in ["a", "b", "c"] {
        desk.waiting(name).await;
    }
    assert!(desk.claims("a").await && desk.claims("b").await);
    let third = desk.books.intent_claim("c", HOLDER).await.unwrap();
    assert_eq!((third.claimed, third.state), (false, IntentState::Waiting));
    assert!(third.why.unwrap().contains("gate venue/binance"));
    // In flight stays in flight: asked again, and however low the gate is set.
    assert_eq!(desk.books.gate_set(Some("binance"), 1).await.unwrap(), 2);
    assert!(desk.claims("a").await && desk.claims("b").await);
    desk.books.intent_fail("a", HOLDER, "enough").await.unwrap();
    assert!(!desk.claims("c").await);
    desk.books.intent_cancel("b", HOLDER, "enough").await.unwrap();
    assert!(desk.claims("c").await);
    assert_eq!(desk.books.gate_set(None, 1).await.unwrap(), 100);
    desk.books.gate_set(Some("binance"), 10).await.unwrap();
    desk.waiting("d").await;
    let fourth = desk.books.intent_claim("d", HOLDER).await.unwrap();
    assert!(fourth.why.unwrap().contains("gate global"));
    for (venue, max, field) in
        [(Some("nowhere"), 5, "venue"), (None, 0, "max_in_flight"), (Some("binance"), -1, "max_in_flight")]
    {
        assert_refused(desk.books.gate_set(venue, max).await, RefusalKind::InvalidInput, "field", field);
    }
    let said = desk
        .texts("SELECT kind || ' ' || (payload ->> 'intent_id') FROM outbox WHERE kind LIKE 'intent.%' ORDER BY id");
    assert_eq!(
        said.await,
        [
            "waiting a",
            "waiting b",
            "waiting c",
            "claimed a",
            "claimed b",
            "failed a",
            "cancelled b",
            "claimed c",
            "waiting d"
        ]
        .map(|said| format!("intent.{said}"))
    );
    desk.assert_sound().await;
}

/// What is to be ended does not stand in the crowd of what is to begin, and takes no place from it.
#[tokio::test]
async fn a_cancel_passes_full_gates_and_fills_none() {
    let mut desk = Desk::open().await;
    desk.books.gate_set(None, 1).await.unwrap();
    for name in ["a", "b"] {
        desk.waiting(name).await;
    }
    desk.waiting("c").await;
    desk.books.intent_fail("c", HOLDER, "it left an order").await.unwrap();
    assert!(desk.claims("a").await && !desk.claims("b").await);
    desk.books.intent_open(&cancel_intent("x", "c", "c"), HOLDER).await.unwrap();
    assert!(desk.claims("x").await, "it waits");
    desk.books.intent_fail("a", HOLDER, "enough").await.unwrap();
    assert!(desk.claims("b").await, "it takes a place");
    // Of its own strategy it is the only one in flight all the same.
    desk.books.intent_open(&cancel_intent("y", "c", "c"), HOLDER).await.unwrap();
    assert!(!desk.claims("y").await);
    desk.assert_sound().await;
}

#[tokio::test]
async fn two_who_ask_for_the_last_place_at_once_do_not_both_get_it() {
    let mut desk = Desk::open().await;
    desk.books.gate_set(Some("binance"), 1).await.unwrap();
    desk.waiting("a").await;
    desk.waiting("b").await;
    let one = desk.database.books(1).await;
    sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
    assert!(one.intent_claim("a", HOLDER).await.unwrap().claimed);
    let other = tokio::spawn({
        let books = desk.books.clone();
        async move { books.intent_claim("b", HOLDER).await.unwrap().claimed }
    });
    desk.until_waiting(1).await;
    sqlx::query("COMMIT").execute(one.pool()).await.unwrap();
    assert!(!other.await.unwrap(), "both passed");
    // And whoever rolls back has not passed.
    desk.books.intent_fail("a", HOLDER, "enough").await.unwrap();
    sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
    assert!(one.intent_claim("b", HOLDER).await.unwrap().claimed);
    sqlx::query("ROLLBACK").execute(one.pool()).await.unwrap();
    assert!(desk.claims("b").await);
}

#[tokio::test]
async fn the_intents_of_a_strategy_go_one_by_one_in_the_order_of_their_tickets() {
    let mut desk = Desk::open().await;
    desk.start("s").await.unwrap();
    let mut tickets = Vec::new();
    for name in ["first", "second", "third"] {
        tickets.push(desk.books.intent_open(&place_intent_of(name, "s"), HOLDER).await.unwrap().ticket);
    }
    assert!(tickets.is_sorted() && tickets.iter().all(Option::is_some), "{tickets:?}");
    let second = desk.books.intent_claim("second", HOLDER).await.unwrap();
    assert_eq!(second.why.as_deref(), Some("intent first of strategy s comes first"));
    assert!(desk.claims("first").await);
    let second = desk.books.intent_claim("second", HOLDER).await.unwrap();
    assert_eq!(second.why.as_deref(), Some("intent first of strategy s is in flight"));
    desk.books.intent_fail("first", HOLDER, "enough").await.unwrap();
    assert!(!desk.claims("third").await && desk.claims("second").await);
    // A ticket is taken under the strategy's lock: the next one, whose number is higher, can't be seen before it.
    let one = desk.database.books(1).await;
    sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
    one.intent_open(&place_intent_of("fourth", "s"), HOLDER).await.unwrap();
    let fifth = tokio::spawn({
        let books = desk.books.clone();
        async move { books.intent_open(&place_intent_of("fifth", "s"), HOLDER).await.unwrap().ticket }
    });
    desk.until_waiting(1).await;
    sqlx::query("COMMIT").execute(one.pool()).await.unwrap();
    let fourth = one.intent_check(&place_intent_of("fourth", "s"), HOLDER).await.unwrap().ticket;
    assert!(fourth < fifth.await.unwrap());
    desk.assert_sound().await;
}

/// Whoever carries an intent: asks until it is its turn, and ends it.
async fn carry(books: &Books, name: String) {
    let passed = wait_until(DEADLINE, async || books.intent_claim(&name, HOLDER).await.unwrap().claimed).await;
    assert!(passed, "{name} never passed");
    // Asked again meanwhile, as by a worker that comes after one that died.
    assert!(books.intent_claim(&name, HOLDER).await.unwrap().claimed);
    books.intent_fail(&name, HOLDER, "that was it").await.unwrap();
    assert!(!books.intent_claim(&name, HOLDER).await.unwrap().claimed, "{name} passed after its end");
}

#[tokio::test]
async fn two_processes_with_crowds_of_intents_never_exceed_a_gate_nor_overtake() {
    const STRATEGIES: usize = 8;
    const EACH: usize = 6;
    let mut desk = Desk::open().await;
    for strategy in 0..STRATEGIES {
        let venue = if strategy % 2 == 0 { "binance" } else { "kraken" };
        let sql = "SELECT strategy_start($1, 'alice', $2, 'BTC', 'USDT', '{}', 'olga')";
        let start = sqlx::query(sql).bind(format!("s-{strategy}")).bind(venue);
        start.execute(&mut desk.owner).await.unwrap();
    }
    desk.books.gate_set(Some("binance"), 2).await.unwrap();
    desk.books.gate_set(Some("kraken"), 1).await.unwrap();
    desk.books.gate_set(None, 3).await.unwrap();
    let processes = [desk.database.books(8).await, desk.database.books(8).await];
    let mut names = Vec::new();
    for round in 0..EACH {
        for strategy in 0..STRATEGIES {
            let (name, key) = (format!("i-{strategy}-{round}"), format!("s-{strategy}"));
            let mut intent = place_intent_of(&name, &key);
            if strategy % 2 == 1 {
                intent.venue = "kraken".to_owned().try_into().unwrap();
            }
            desk.books.intent_open(&intent, HOLDER).await.unwrap();
            names.push(name);
        }
    }
    let all = names.into_iter().enumerate();
    join_all(all.map(|(number, name)| carry(&processes[number % 2], name))).await;
    assert!(desk.most_at_once(Some("binance")).await <= 2);
    assert!(desk.most_at_once(Some("kraken")).await <= 1);
    assert!(desk.most_at_once(None).await <= 3);
    let claims =
        "SELECT count(*)::text FROM outbox WHERE kind = 'intent.claimed' GROUP BY aggregate HAVING count(*) <> 1";
    assert_eq!(desk.texts(claims).await, Vec::<String>::new());
    // The checker knows that no strategy had two in flight, and none overtook.
    desk.assert_sound().await;
    let took = "SELECT extract(epoch FROM max(ended_at) - min(claimed_at))::text FROM intents";
    println!("{} intents in {} s", STRATEGIES * EACH, desk.texts(took).await[0]);
}
