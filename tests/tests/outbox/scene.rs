//! What the tests of publishing share: a world whose worker publishes, events to publish, and the demand on what arrives.

use std::collections::HashMap;

use backstop::stack::wait_until;
use backstop_tests::{World, world::DEADLINE};
use serde_json::Value;
use sqlx::PgConnection;

use crate::receiver::Received;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// After so many answers an event is dead here.
pub(crate) const ATTEMPTS: usize = 3;

/// A world whose worker publishes, quick to look and to give up.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) owner: PgConnection,
}

/// An event as the books have it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) aggregate: String,
    pub(crate) place: i64,
}

impl Scene {
    pub(crate) async fn without_worker() -> Self {
        Self::waiting_for_answers("2000").await
    }

    /// Without a worker; the next one waits for answers for so long, ms.
    pub(crate) async fn waiting_for_answers(answer_timeout_ms: &'static str) -> Self {
        let mut world = World::without_worker().await;
        world.settings_for_publishing(SECRET, answer_timeout_ms);
        let owner = world.database.owner().await;
        Self { world, owner }
    }

    pub(crate) async fn new() -> Self {
        let mut scene = Self::without_worker().await;
        scene.world.start_worker().await;
        scene
    }

    /// Adds an endpoint, by the command line.
    pub(crate) async fn endpoint(&self, name: &str, url: &str, options: &[&str]) {
        let words = ["outbox", "endpoint", "add", name, url, "--by", "olga", "--reason", "ticket 5"];
        self.world.backstop(&[&words, options].concat()).await.unwrap();
    }

    /// Freezes and unfreezes a user's account in turn: events of one aggregate, whose name this returns.
    pub(crate) async fn toggle(&mut self, user: &str, times: usize) -> String {
        toggle(&mut self.owner, user, times).await
    }

    /// Corrects a user's balance: an entry each, and an event each of an aggregate of its own.
    pub(crate) async fn adjust(&mut self, user: &str, deltas: &[&str]) {
        for delta in deltas {
            let sql = "SELECT adjustment_post($1, 'olga', 'ticket 6', $2, 'BTC', $3::numeric)";
            let id = uuid::Uuid::now_v7().to_string();
            sqlx::query(sql).bind(id).bind(user).bind(*delta).execute(&mut self.owner).await.unwrap();
        }
    }

    /// Everything that the books have to tell, in the order of the aggregates.
    pub(crate) async fn written(&mut self) -> Vec<Written> {
        let sql = "SELECT 'outbox/' || id AS id, aggregate, id AS place FROM outbox
                   UNION ALL SELECT format('entry/%s/%s', key, line), format('entries/%s/%s', owner, asset), e.version
                     FROM entries AS e JOIN accounts AS a ON a.id = e.account
                   ORDER BY aggregate, place";
        let written: Vec<Written> = sqlx::query_as(sql).fetch_all(&mut self.owner).await.unwrap();
        assert!(!written.is_empty());
        written
    }

    /// What the books have to tell of one aggregate.
    pub(crate) async fn written_of(&mut self, aggregate: &str) -> Vec<Written> {
        let written = self.written().await;
        written.into_iter().filter(|event| event.aggregate == aggregate).collect()
    }

    /// Waits until this holds.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        assert!(wait_until(DEADLINE, holds).await, "{what}");
    }

    /// Waits until all of these have been taken.
    pub(crate) async fn taken(&self, expected: &[Written], received: impl Fn() -> Vec<Received>) {
        let taken = wait_until(DEADLINE, async || missing(expected, &received()).is_empty()).await;
        assert!(taken, "never taken: {:#?}", missing(expected, &received()));
    }

    pub(crate) async fn texts(&mut self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&mut self.owner).await.unwrap()
    }
}

pub(crate) async fn toggle(connection: &mut PgConnection, user: &str, times: usize) -> String {
    for _ in 0..times {
        let frozen = sqlx::query_scalar::<_, bool>("SELECT account_freeze($1, 'BTC', 'olga')").bind(user);
        if !frozen.fetch_one(&mut *connection).await.unwrap() {
            let unfreeze = sqlx::query("SELECT account_unfreeze($1, 'BTC', 'olga', 'ticket 7')").bind(user);
            unfreeze.execute(&mut *connection).await.unwrap();
        }
    }
    format!("account/{user}/BTC")
}

fn missing(expected: &[Written], received: &[Received]) -> Vec<String> {
    let taken = |event: &&Written| !received.iter().any(|one| one.accepted() && one.id() == event.id);
    expected.iter().filter(taken).map(|event| format!("{} of {}", event.id, event.aggregate)).collect()
}

/// The demand: each of these was taken; of an aggregate, none was sent before the one before it had been taken; and what
/// came more than once was the same every time.
pub(crate) fn assert_in_order(expected: &[Written], received: &[Received]) {
    assert_eq!(missing(expected, received), [""; 0]);
    let mut places: HashMap<&str, Vec<&str>> = HashMap::new();
    for event in expected {
        places.entry(&event.aggregate).or_default().push(&event.id);
    }
    let mut next: HashMap<&str, usize> = HashMap::new();
    let mut bodies: HashMap<&str, &Value> = HashMap::new();
    for one in received {
        let Some(ids) = places.get(one.subject()) else { continue };
        let place = ids.iter().position(|id| *id == one.id()).unwrap_or_else(|| panic!("nobody wrote {}", one.event));
        let next = next.entry(one.subject()).or_default();
        assert!(place <= *next, "{} of {} came before {}", one.id(), one.subject(), ids[*next]);
        if place == *next && one.accepted() {
            *next += 1;
        }
        assert_eq!(*bodies.entry(one.id()).or_insert(&one.event), &one.event, "it has changed");
    }
}
