//! Goal: a payout that stands still for longer than its state explains is told, and not a moment earlier.

use crate::{
    desk::{Desk, LONG, order},
    stock::withdrawal,
};

#[tokio::test]
async fn each_state_has_its_time() {
    let mut desk = Desk::open().await;
    desk.books.withdrawal_request(&withdrawal("queued", "0.1")).await.unwrap();
    desk.books.withdrawal_request(&withdrawal("waits", "0.5")).await.unwrap();
    desk.books.payout_open(&order("opened", "0.1")).await.unwrap();
    for payout in ["attempted", "asked"] {
        desk.attempted(&order(payout, "0.1"), LONG).await;
    }
    desk.damage("UPDATE payouts SET state = 'needs_operator' WHERE payout_id = 'refund/asked'").await;
    let states = "SELECT concat_ws(' ', payout_id, state) FROM payouts ORDER BY payout_id";
    assert_eq!(
        desk.texts(states).await,
        [
            "refund/asked needs_operator",
            "refund/attempted attempted",
            "refund/opened opened",
            "withdrawal/queued queued",
            "withdrawal/waits awaiting_approval"
        ]
    );
    for (payout, minutes) in [
        ("withdrawal/queued", 15),
        ("refund/opened", 15),
        ("refund/attempted", 2 * 60),
        ("refund/asked", 24 * 60),
        ("withdrawal/waits", 8 * 24 * 60),
    ] {
        for (age, stuck) in [(minutes - 1, false), (minutes + 1, true)] {
            let since = format!("changed_at = clock_timestamp() - {age} * interval '1 minute'");
            desk.damage(&format!("UPDATE payouts SET {since} WHERE payout_id = '{payout}'")).await;
            let told = desk.books.check("transit").await.unwrap();
            let told: Vec<String> = told.iter().map(|found| format!("{} {}", found.kind, found.subject)).collect();
            let expected = if stuck { vec![format!("payout_stuck {payout}")] } else { Vec::new() };
            assert_eq!(told, expected, "{payout} after {age} minutes");
        }
        desk.damage(&format!("UPDATE payouts SET changed_at = clock_timestamp() WHERE payout_id = '{payout}'")).await;
    }
}
