//! What seeded corruption is held against: a run of every check, over all of the books, which finds exactly that and freezes
//! exactly the accounts concerned.

use backstop::stack::wait_until;
use backstop_domain::reconcile::Report;
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use crate::{
    operations::End,
    world::{DEADLINE, World},
};

/// Damage of one kind.
#[derive(Clone, Debug)]
pub struct Seeded {
    /// SQL that does it, as the owner.
    pub damage: String,
    /// SQL that undoes it; empty: nothing does.
    pub undo: String,
    /// What has to be found, as `Severity kind subject`.
    pub found: Vec<String>,
    /// What has to be frozen, as `owner asset`.
    pub frozen: Vec<String>,
}

impl World {
    /// Reconciles.
    pub async fn reconcile(&self, input: Value) -> Report {
        let id = format!("reconcile/{}", Uuid::now_v7());
        match self.run_any("Reconcile", &id, &input).await {
            End::Result(report) => serde_json::from_value(report).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Makes every check, of all of the books.
    pub async fn check_everything(&self) -> Report {
        self.reconcile(json!({"full": true})).await
    }

    /// Does what nobody may: as the owner, whom no trigger holds back here.
    pub async fn damage(&self, sql: &str) {
        let mut owner = self.database.owner().await;
        let mut damage = owner.begin().await.unwrap();
        sqlx::raw_sql("SET LOCAL session_replication_role = replica").execute(&mut *damage).await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *damage).await.unwrap();
        assert!(done.rows_affected() > 0, "touched nothing: {sql}");
        damage.commit().await.unwrap();
    }

    /// Makes every check until these findings are open and no other, as `Severity kind subject`. What is young may not be
    /// judged yet.
    pub async fn finds(&self, expected: &[String]) -> Report {
        let mut expected = expected.to_vec();
        expected.sort();
        let (mut report, mut found) = (Report::default(), Vec::new());
        let held = wait_until(DEADLINE, async || {
            report = self.check_everything().await;
            assert!(report.checks.iter().all(|check| check.looked), "{report:?}");
            found = report.findings.iter().map(|f| format!("{:?} {} {}", f.severity, f.kind, f.subject)).collect();
            found.sort();
            found == expected
        });
        assert!(held.await, "{expected:#?} instead of {found:#?}: {report:?}");
        report
    }

    /// Which accounts findings have frozen, as `owner asset`. Lifts the freezes, as an operator does.
    pub async fn frozen(&self) -> Vec<String> {
        let mut owner = self.database.owner().await;
        let sql = "SELECT owner, asset FROM accounts WHERE frozen_by LIKE 'finding %' ORDER BY owner, asset";
        let frozen: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut owner).await.unwrap();
        for (user, asset) in &frozen {
            let lift = sqlx::query("SELECT account_unfreeze($1, $2, 'olga', 'looked at')").bind(user).bind(asset);
            lift.execute(&mut owner).await.unwrap();
        }
        frozen.into_iter().map(|(owner, asset)| format!("{owner} {asset}")).collect()
    }

    /// Does the damage, sees what it is found as and what is frozen for it, undoes it, and sees that nothing is left.
    pub async fn is_found(&self, seeded: &Seeded) {
        self.damage(&seeded.damage).await;
        self.finds(&seeded.found).await;
        let mut frozen = seeded.frozen.clone();
        frozen.sort();
        assert_eq!(self.frozen().await, frozen, "after {}", seeded.damage);
        if !seeded.undo.is_empty() {
            self.damage(&seeded.undo).await;
            self.finds(&[]).await;
        }
    }
}
