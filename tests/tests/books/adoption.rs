//! Goal: every operation that has lost its workflow is started again, on the record before that, and none waits for another that
//! can't be.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_activities::{
    books::{Books, Unfinished},
    recovery::{Adoption, RecoveryActivities, Standing, Starter},
};
use backstop_domain::payout::PayoutOrder;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Barrier;

use crate::desk::{Desk, order};

/// As many as are looked at at once.
const OPERATIONS: usize = 16;

/// A Temporal that has lost everything, and runs what it is asked for.
struct Engine {
    books: Books,
    /// Everybody waits here for so many others.
    crowd: Barrier,
    running: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
    /// What it does not start.
    refuses: Mutex<Option<&'static str>>,
}

impl Starter for Engine {
    fn standing<'a>(&'a self, operation: &'a Unfinished) -> BoxFuture<'a, Result<Standing, String>> {
        async move {
            self.asked.lock().unwrap().push(operation.holder.clone());
            self.crowd.wait().await;
            let runs = self.running.lock().unwrap().contains(&operation.holder);
            Ok(if runs { Standing::Runs } else { Standing::Unknown })
        }
        .boxed()
    }

    fn start<'a>(&'a self, operation: &'a Unfinished) -> BoxFuture<'a, Result<bool, String>> {
        async move {
            let sql = "SELECT count(*) FROM outbox WHERE aggregate = 'adoption/' || $1 AND kind = 'operation.adopted'";
            let noted = sqlx::query_scalar::<_, i64>(sql).bind(&operation.holder).fetch_one(self.books.pool());
            assert_eq!(noted.await.unwrap(), 1, "{} is not on the record", operation.holder);
            if *self.refuses.lock().unwrap() == Some(operation.holder.as_str()) {
                return Err(format!("{} is not welcome", operation.holder));
            }
            self.running.lock().unwrap().push(operation.holder.clone());
            Ok(true)
        }
        .boxed()
    }
}

/// So many refunds that stand still, `r-00` and so on, and what starts them again: when so many are looked at at once.
async fn scene(crowd: usize) -> (Desk, RecoveryActivities, Arc<Engine>) {
    let mut desk = Desk::open().await;
    for n in 0..OPERATIONS {
        let refund = PayoutOrder { holder: format!("r-{n:02}"), ..order(&format!("{n}"), "0.01") };
        desk.books.payout_open(&refund).await.unwrap();
    }
    let now = desk.now_ms().await;
    desk.until_ms(now + 2).await;
    let engine = Arc::new(Engine {
        books: desk.books.clone(),
        crowd: Barrier::new(crowd),
        running: Mutex::default(),
        asked: Mutex::default(),
        refuses: Mutex::default(),
    });
    let quiet = Duration::from_millis(1);
    let recovery = RecoveryActivities { books: desk.books.clone(), starter: engine.clone(), quiet };
    (desk, recovery, engine)
}

#[tokio::test]
async fn what_can_not_be_started_keeps_no_other_from_it_and_is_told_in_the_end() {
    let (mut desk, recovery, engine) = scene(OPERATIONS).await;
    *engine.refuses.lock().unwrap() = Some("r-03");
    let so_far = Mutex::default();
    let told = recovery.adopt_all(&so_far).await.unwrap().unwrap_err();
    assert_eq!(told, "1 of 16 operations that are not over could not be started again: r-03 is not welcome");
    assert_eq!(engine.running.lock().unwrap().len(), OPERATIONS - 1);
    // The next pass looks at all of them again; and what was said of it stands for it.
    assert_eq!(*so_far.lock().unwrap(), Adoption::default());
    *engine.refuses.lock().unwrap() = None;
    let told = recovery.adopt_all(&so_far).await.unwrap().unwrap();
    assert_eq!(told, "16 operations are not over; started again: r-03");
    let told = recovery.adopt_all(&so_far).await.unwrap().unwrap();
    assert_eq!(told, "16 operations are not over; each has its workflow");
    let noted = desk.texts("SELECT aggregate FROM outbox WHERE kind = 'operation.adopted' ORDER BY aggregate").await;
    assert_eq!(noted, (0..OPERATIONS).map(|n| format!("adoption/r-{n:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_pass_goes_on_where_the_last_one_came_to() {
    let (_desk, recovery, engine) = scene(1).await;
    let so_far =
        Adoption { after: "r-12".into(), seen: 13, started: 1, first: vec!["r-05".into()], ..Adoption::default() };
    let told = recovery.adopt_all(&Mutex::new(so_far)).await.unwrap().unwrap();
    assert_eq!(told, "16 operations are not over; started again: r-05, r-13, r-14, r-15");
    engine.asked.lock().unwrap().sort();
    assert_eq!(*engine.asked.lock().unwrap(), ["r-13", "r-14", "r-15"]);
}

/// One run that is gone is one repair, however often somebody set about it.
#[tokio::test]
async fn each_run_that_is_gone_is_on_the_record_once() {
    let (mut desk, recovery, _) = scene(1).await;
    let operation = recovery.books.unfinished(recovery.quiet, "r-14").await.unwrap().remove(0);
    for run in [Some("run-1"), Some("run-1"), Some("run-2"), None, None, Some("run-3")] {
        desk.books.adoption_note(&operation, run).await.unwrap();
    }
    let noted =
        "SELECT coalesce(payload ->> 'gone_run', 'all') FROM outbox WHERE kind = 'operation.adopted' ORDER BY id";
    assert_eq!(desk.texts(noted).await, ["run-1", "run-2", "all", "run-3"]);
}
