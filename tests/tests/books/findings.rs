//! Goal: what a check finds opens one finding, freezes the account concerned, alarms until somebody answers for it, and is
//! over when it is gone.

use backstop_activities::books::Look;
use backstop_domain::{
    RefusalKind,
    reconcile::{Deviation, Severity},
};
use serde_json::json;

use crate::desk::{Desk, assert_refused, order};

fn wrong(subject: &str, measure: &str) -> Deviation {
    Deviation {
        kind: "too_thin".into(),
        subject: subject.into(),
        severity: Severity::Critical,
        measure: Some(measure.into()),
        owner: Some(subject.into()),
        asset: Some("BTC".into()),
        evidence: json!({"thickness": measure}),
    }
}

/// Later than anything was seen.
const FAR_MS: i64 = 4_000_000_000_000;
const FAR_US: i64 = 1_000 * FAR_MS;

/// One look of the check `ice`: how many findings were opened, were closed, and how many accounts frozen.
async fn look(desk: &Desk, run: &str, deviations: &[Deviation]) -> (u32, u32, u32) {
    told(desk, Look { check: "ice", run, closes_from_ms: Some(0), began_us: FAR_US, deviations, unclear: &[] }).await
}

async fn told(desk: &Desk, look: Look<'_>) -> (u32, u32, u32) {
    let report = desk.books.findings_report(&look, 3).await.unwrap();
    (report.opened, report.closed, report.frozen)
}

async fn events(desk: &mut Desk) -> Vec<String> {
    desk.texts("SELECT kind FROM outbox WHERE aggregate LIKE 'finding/%' ORDER BY id").await
}

#[tokio::test]
async fn a_deviation_is_one_finding_that_opens_and_closes_and_is_another_when_it_comes_back() {
    let mut desk = Desk::open().await;
    assert_eq!(look(&desk, "1", &[wrong("alice", "2 cm")]).await, (1, 0, 1));
    assert_eq!(look(&desk, "1", &[wrong("alice", "2 cm")]).await, (0, 0, 0));
    assert_eq!(look(&desk, "2", &[wrong("alice", "1 cm")]).await, (0, 0, 0));
    assert_eq!(desk.findings().await, ["too_thin alice"]);
    assert_eq!(desk.texts("SELECT evidence ->> 'thickness' FROM findings").await, ["1 cm"]);
    assert_eq!(look(&desk, "3", &[]).await, (0, 1, 0));
    assert_eq!(look(&desk, "4", &[]).await, (0, 0, 0));
    assert_eq!(look(&desk, "5", &[wrong("alice", "2 cm")]).await, (1, 0, 0));
    assert_eq!(events(&mut desk).await, ["finding.opened", "finding.closed", "finding.opened"]);
    assert_eq!(desk.texts("SELECT state FROM findings ORDER BY id").await, ["closed", "open"]);
}

#[tokio::test]
async fn a_look_that_was_not_complete_and_the_look_of_another_check_close_nothing() {
    let mut desk = Desk::open().await;
    look(&desk, "1", &[wrong("alice", "2 cm")]).await;
    desk.books.find("slippery", "bob", "warning", &json!({})).await.unwrap();
    let seen_nothing =
        Look { check: "ice", run: "2", closes_from_ms: None, began_us: FAR_US, deviations: &[], unclear: &[] };
    for look in [
        seen_nothing,
        Look { check: "snow", closes_from_ms: Some(0), ..seen_nothing },
        Look { closes_from_ms: Some(0), unclear: &[wrong("alice", "3 cm")], ..seen_nothing },
        Look { closes_from_ms: Some(FAR_MS), ..seen_nothing },
    ] {
        assert_eq!(told(&desk, look).await, (0, 0, 0));
    }
    assert_eq!(desk.findings().await, ["too_thin alice", "slippery bob"]);
    look(&desk, "3", &[]).await;
    assert_eq!(desk.findings().await, ["slippery bob"]);
}

#[tokio::test]
async fn the_account_of_a_critical_one_is_frozen_in_its_name_until_an_operator_lifts_that() {
    let mut desk = Desk::open().await;
    look(&desk, "1", &[wrong("alice", "2 cm"), Deviation { severity: Severity::Warning, ..wrong("bob", "9 cm") }])
        .await;
    let refused = desk.books.payout_open(&order("r", "0.1")).await;
    assert_refused(refused, RefusalKind::Frozen, "frozen_by", "finding 1: too_thin of alice");
    assert!(desk.books.deposit_credit("binance", "d-1", Some("alice"), "BTC", "1".parse().unwrap()).await.unwrap());
    assert_eq!(desk.texts("SELECT owner FROM accounts WHERE frozen_by IS NOT NULL").await, ["alice"]);
    assert!(desk.books.account_unfreeze("alice", "BTC", "olga", "the ice is thick").await.unwrap());
    assert!(!desk.books.account_unfreeze("alice", "BTC", "olga", "the ice is thick").await.unwrap());
    // Still there, but a person has decided about it.
    assert_eq!(look(&desk, "2", &[wrong("alice", "2 cm")]).await, (0, 1, 0));
    assert!(desk.books.payout_open(&order("r-2", "0.1")).await.unwrap().applied);
    assert_eq!(desk.acts().await, ["unfreeze alice/BTC olga the ice is thick"]);
}

#[tokio::test]
async fn so_many_accounts_are_no_single_ones_and_everything_is_halted_instead() {
    let mut desk = Desk::open().await;
    let many: Vec<Deviation> = (0..5).map(|n| wrong(&format!("u-{n}"), "0 cm")).collect();
    assert_eq!(look(&desk, "1", &many[..2]).await, (2, 0, 2));
    assert_eq!(desk.texts("SELECT scope FROM halts").await, Vec::<String>::new());
    assert_eq!(look(&desk, "1", &many).await, (3, 0, 1));
    assert_eq!(
        desk.texts("SELECT owner FROM accounts WHERE frozen_by IS NOT NULL ORDER BY 1").await,
        ["u-0", "u-1", "u-2"]
    );
    assert_eq!(
        desk.texts("SELECT concat_ws(' ', scope, payouts, halted_by) FROM halts").await,
        ["all t reconciliation"]
    );
    assert_eq!(desk.findings().await.len(), 6);
    assert_eq!(desk.texts("SELECT subject FROM findings WHERE kind = 'too_many_deviations'").await, ["ice"]);
    // Further findings on accounts that are frozen already add nothing; the next run freezes those that were too many.
    let further = Deviation { kind: "too_wet".into(), ..wrong("u-0", "0 cm") };
    let look_again =
        Look { check: "rain", run: "1", closes_from_ms: None, began_us: FAR_US, deviations: &[further], unclear: &[] };
    assert_eq!(told(&desk, look_again).await, (1, 0, 0));
    assert_eq!(desk.texts("SELECT subject FROM findings WHERE kind = 'too_many_deviations'").await, ["ice"]);
    sqlx::raw_sql("SELECT halt_lift('all', NULL, 'olga', 'looked at')").execute(&mut desk.owner).await.unwrap();
    assert_eq!(look(&desk, "2", &many).await, (0, 0, 2));
    assert_eq!(desk.texts("SELECT scope FROM halts").await, Vec::<String>::new());
}

#[tokio::test]
async fn somebody_answers_for_a_finding_until_it_gets_worse() {
    let mut desk = Desk::open().await;
    look(&desk, "1", &[wrong("alice", "2 cm")]).await;
    assert_eq!(desk.books.findings_open().await.unwrap(), (1, 0, 0));
    assert!(desk.books.finding_acknowledge(1, "olga", "ticket 3").await.unwrap());
    assert!(!desk.books.finding_acknowledge(1, "olga", "ticket 3").await.unwrap());
    look(&desk, "2", &[wrong("alice", "2 cm")]).await;
    assert_eq!(desk.books.findings_open().await.unwrap(), (1, 0, 1));
    assert_eq!(desk.findings().await, ["too_thin alice"]);
    look(&desk, "3", &[wrong("alice", "1 cm")]).await;
    assert_eq!(desk.books.findings_open().await.unwrap(), (1, 0, 0));
    assert_eq!(desk.acts().await, ["acknowledge finding 1: too_thin of alice olga ticket 3"]);
    // A warning that becomes critical is worse, too, and freezes.
    let warning = Deviation { severity: Severity::Warning, ..wrong("bob", "2 cm") };
    assert_eq!(look(&desk, "4", &[warning]).await, (1, 1, 0));
    let id = desk.texts("SELECT id::text FROM findings WHERE subject = 'bob'").await[0].parse().unwrap();
    assert!(desk.books.finding_acknowledge(id, "olga", "ticket 4").await.unwrap());
    assert_eq!(look(&desk, "5", &[wrong("bob", "2 cm")]).await, (0, 0, 1));
    assert_eq!(desk.books.findings_open().await.unwrap(), (1, 0, 0));
}

/// The check no longer looks at what is so old, and somebody has answered for it.
#[tokio::test]
async fn one_that_somebody_answers_for_is_over_when_it_is_out_of_sight() {
    let mut desk = Desk::open().await;
    look(&desk, "1", &[wrong("alice", "2 cm"), wrong("bob", "2 cm")]).await;
    assert!(desk.books.finding_acknowledge(1, "olga", "ticket 3").await.unwrap());
    let far =
        Look { check: "ice", run: "2", closes_from_ms: Some(FAR_MS), began_us: FAR_US, deviations: &[], unclear: &[] };
    assert_eq!(told(&desk, far).await, (0, 1, 0));
    assert_eq!(desk.findings().await, ["too_thin bob"]);
}

/// As a full pass that takes hours, while others look at what is new.
#[tokio::test]
async fn what_another_look_has_seen_meanwhile_is_not_over() {
    let mut desk = Desk::open().await;
    look(&desk, "1", &[wrong("alice", "2 cm")]).await;
    let began_us = desk.books.now_us().await.unwrap();
    let long = Look { check: "ice", run: "2", closes_from_ms: Some(0), began_us, deviations: &[], unclear: &[] };
    look(&desk, "3", &[wrong("alice", "2 cm"), wrong("bob", "2 cm")]).await;
    assert_eq!(told(&desk, long).await, (0, 0, 0));
    assert_eq!(desk.findings().await, ["too_thin alice", "too_thin bob"]);
    let began_us = desk.books.now_us().await.unwrap();
    assert_eq!(told(&desk, Look { began_us, ..long }).await, (0, 2, 0));
}

/// What is wrong of a trade may be in either.
#[tokio::test]
async fn of_two_assets_both_accounts_are_frozen() {
    let mut desk = Desk::open().await;
    let both = |user: &str| Deviation { asset: Some("BTC/USDT".into()), ..wrong(user, "2 cm") };
    assert!(desk.freeze("bob", "olga").await);
    assert_eq!(look(&desk, "1", &[both("alice"), both("bob")]).await, (2, 0, 3));
    let frozen = "SELECT concat_ws(' ', owner, asset, frozen_by) FROM accounts WHERE frozen_by IS NOT NULL ORDER BY 1";
    assert_eq!(
        desk.texts(frozen).await,
        [
            "alice BTC finding 1: too_thin of alice",
            "alice USDT finding 1: too_thin of alice",
            "bob BTC olga",
            "bob USDT finding 2: too_thin of bob"
        ]
    );
}

/// A transition has told of it first, which freezes nothing.
#[tokio::test]
async fn a_check_takes_over_what_was_told_before() {
    let mut desk = Desk::open().await;
    desk.books.find("too_thin", "alice", "critical", &json!({})).await.unwrap();
    assert_eq!(look(&desk, "1", &[wrong("alice", "2 cm")]).await, (0, 0, 1));
    assert_eq!(desk.texts("SELECT owner FROM accounts WHERE frozen_by IS NOT NULL").await, ["alice"]);
    assert_eq!(look(&desk, "2", &[]).await, (0, 1, 0));
    assert_eq!(desk.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_has_happened_is_over_when_somebody_answers_for_it() {
    let mut desk = Desk::open().await;
    desk.books.find("slippery", "bob", "critical", &json!({})).await.unwrap();
    assert!(desk.books.finding_acknowledge(1, "olga", "salted").await.unwrap());
    assert_eq!(desk.findings().await, Vec::<String>::new());
    assert_eq!(events(&mut desk).await, ["finding.opened", "finding.closed"]);
    assert!(!desk.books.finding_acknowledge(1, "olga", "salted").await.unwrap());
}

#[tokio::test]
async fn an_answer_without_a_name_a_reason_or_a_finding_changes_nothing() {
    let mut desk = Desk::open().await;
    desk.books.find("slippery", "bob", "critical", &json!({})).await.unwrap();
    let before = desk.everything().await;
    let answer = desk.books.finding_acknowledge(1, "", "salted").await;
    assert_refused(answer, RefusalKind::InvalidInput, "field", "by");
    assert_refused(desk.books.finding_acknowledge(1, "olga", "").await, RefusalKind::InvalidInput, "field", "reason");
    assert_refused(
        desk.books.finding_acknowledge(7, "olga", "salted").await,
        RefusalKind::NotFound,
        "field",
        "finding",
    );
    let unsigned = desk.books.account_unfreeze("alice", "BTC", "olga", "").await;
    assert_refused(unsigned, RefusalKind::InvalidInput, "field", "reason");
    assert_eq!(desk.everything().await, before);
}
