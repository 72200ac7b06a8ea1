//! Goal: whatever is done to the books behind the functions' back is seen: at once where it is new, by the full pass where it
//! is old; and books that were put back or rewritten disagree with what was sealed.

use backstop_activities::reconcile::FullPass;
use backstop_domain::reconcile::{Deviation, Seal};

use crate::desk::{Desk, LONG, order, paid};

fn told(deviations: &[Deviation]) -> Vec<String> {
    deviations.iter().map(|found| format!("{} {}", found.kind, found.subject)).collect()
}

/// What is wrong with what is new; then seals it.
async fn news(desk: &Desk) -> (Vec<String>, Seal) {
    let news = desk.books.books_news().await.unwrap();
    (told(&news.deviations), desk.books.seal(&news.cursor).await.unwrap())
}

async fn full(desk: &Desk) -> Vec<String> {
    let mut pass = FullPass::default();
    while pass.next_page(&desk.books).await.unwrap() {}
    told(&pass.deviations)
}

/// Some history: two payouts of alice, one of them settled, and a deposit of bob.
async fn history(desk: &Desk) {
    let (open, settled) = (order("open", "0.1"), order("settled", "0.2"));
    desk.attempted(&open, LONG).await;
    desk.attempted(&settled, LONG).await;
    desk.settle(&settled, &paid("w-1", "0.199", "0.001")).await;
    desk.books.deposit_credit("binance", "d-1", Some("bob"), "BTC", "1".parse().unwrap()).await.unwrap();
}

async fn count(desk: &mut Desk) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM entries").fetch_one(&mut desk.owner).await.unwrap()
}

#[tokio::test]
async fn sound_books_are_sealed_entry_by_entry_and_nothing_is_found() {
    let mut desk = Desk::open().await;
    let (found, first) = news(&desk).await;
    assert_eq!((found, first.entries), (vec![], count(&mut desk).await));
    assert_eq!(news(&desk).await, (vec![], first.clone()), "nothing was new");
    history(&desk).await;
    let (found, second) = news(&desk).await;
    assert_eq!((found, second.seq, second.entries), (vec![], first.seq + 1, count(&mut desk).await));
    assert_ne!(first.digest, second.digest);
    for seal in [first, second] {
        assert_eq!(desk.books.seal_check(&seal).await.unwrap(), None);
    }
    assert_eq!(full(&desk).await, Vec::<String>::new());
    assert_eq!(desk.texts("SELECT scope FROM halts").await, Vec::<String>::new());
}

/// A cursor over ids or over what was seen would have passed it by.
#[tokio::test]
async fn a_transaction_that_commits_late_is_looked_at_all_the_same() {
    let mut desk = Desk::open().await;
    news(&desk).await;
    let mut late = desk.database.owner().await;
    sqlx::raw_sql("BEGIN; SELECT deposit_credit('binance', 'late', 'bob', 'BTC', 1)").execute(&mut late).await.unwrap();
    desk.books.deposit_credit("binance", "early", Some("alice"), "BTC", "1".parse().unwrap()).await.unwrap();
    let (found, seal) = news(&desk).await;
    assert_eq!(found, Vec::<String>::new());
    let damage = "SET LOCAL session_replication_role = replica;
                  UPDATE entries SET kind = 'gift' WHERE key = 'deposit/binance/late'; COMMIT";
    sqlx::raw_sql(damage).execute(&mut late).await.unwrap();
    let (found, next) = news(&desk).await;
    assert_eq!(found, ["entry_broken entry/deposit/binance/late/1"]);
    assert_eq!((next.entries, next.seq), (seal.entries + 1, seal.seq + 1));
    assert_eq!(next.entries, count(&mut desk).await);
}

#[tokio::test]
async fn what_is_wrong_with_the_new_is_found_at_once_and_with_its_accounts() {
    for (damage, found) in [
        (
            "UPDATE entries SET d_available = 5 WHERE key = 'deposit/binance/d-1'",
            "entry_broken entry/deposit/binance/d-1/1",
        ),
        (
            "UPDATE entries SET available_after = 5 WHERE key = 'deposit/binance/d-1'",
            "entry_broken entry/deposit/binance/d-1/1",
        ),
        ("UPDATE entries SET hash = '\\x00' WHERE key = 'refund/open/open'", "entry_broken entry/refund/open/open/1"),
        (
            "UPDATE accounts SET available = available + 1 WHERE owner = 'bob' AND asset = 'BTC'",
            "account_differs account/bob/BTC",
        ),
        ("UPDATE accounts SET head = '\\x00' WHERE owner = 'bob' AND asset = 'BTC'", "account_differs account/bob/BTC"),
        ("DELETE FROM entries WHERE key = 'refund/settled/open'", "entry_broken entry/refund/settled/settle/1"),
    ] {
        let mut desk = Desk::open().await;
        news(&desk).await;
        history(&desk).await;
        desk.damage(damage).await;
        let (seen, _) = news(&desk).await;
        assert!(seen.contains(&found.to_owned()), "{damage}: {seen:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_old_is_found_by_the_full_pass() {
    for (damage, found) in [
        (
            "UPDATE entries SET d_available = 5 WHERE key = 'deposit/binance/d-1'",
            "entry_broken entry/deposit/binance/d-1/1",
        ),
        ("UPDATE entries SET kind = 'gift' WHERE key = 'refund/open/open'", "entry_broken entry/refund/open/open/1"),
        ("DELETE FROM entries WHERE key = 'refund/open/open'", "entry_broken entry/refund/settled/open/1"),
        ("DELETE FROM entries WHERE key = 'deposit/binance/d-1'", "account_differs account/bob/BTC"),
        (
            "UPDATE accounts SET available = available + 1 WHERE owner = 'bob' AND asset = 'BTC'",
            "account_differs account/bob/BTC",
        ),
        (
            "UPDATE accounts SET version = version + 1 WHERE owner = 'bob' AND asset = 'BTC'",
            "account_differs account/bob/BTC",
        ),
        (
            "UPDATE payouts SET amount = 0.3, in_transit = 0.3 WHERE payout_id = 'refund/open'",
            "account_differs account/alice/BTC",
        ),
        ("UPDATE seals SET digest = '\\x00' WHERE seq = 1", "seal_broken seal/1"),
        (
            "UPDATE seal_heads SET head = '\\x00' WHERE seq = 2 AND account = (SELECT id FROM accounts WHERE owner = 'bob' AND asset = 'BTC')",
            "seal_broken seal/2",
        ),
    ] {
        let mut desk = Desk::open().await;
        news(&desk).await;
        history(&desk).await;
        news(&desk).await;
        assert_eq!(full(&desk).await, Vec::<String>::new());
        desk.damage(damage).await;
        let seen = full(&desk).await;
        assert!(seen.contains(&found.to_owned()), "{damage}: {seen:?}");
    }
}

/// Whoever can write all of an account's history can make its chain right again. What was sealed still says otherwise.
#[tokio::test]
async fn a_history_that_was_rewritten_as_a_whole_is_not_the_one_that_was_sealed() {
    let mut desk = Desk::open().await;
    history(&desk).await;
    news(&desk).await;
    let rewrite = "
        UPDATE entries SET d_available = 5, available_after = 5
         WHERE account = (SELECT id FROM accounts WHERE owner = 'bob' AND asset = 'BTC') AND version = 1;
        UPDATE entries SET available_after = 6 WHERE account = (SELECT id FROM accounts WHERE owner = 'bob' AND asset = 'BTC') AND version = 2;
        UPDATE entries AS e
           SET hash = sha256(convert_to(entry_text(key, line, kind, account, version, counter, d_available, d_locked, d_transit,
                                                   available_after, locked_after, at), 'UTF8'))
         WHERE account = (SELECT id FROM accounts WHERE owner = 'bob' AND asset = 'BTC') AND version = 1;
        UPDATE entries AS e
           SET hash = sha256((SELECT hash FROM entries AS b WHERE b.account = e.account AND b.version = 1)
                             || convert_to(entry_text(key, line, kind, account, version, counter, d_available, d_locked,
                                                      d_transit, available_after, locked_after, at), 'UTF8'))
         WHERE account = (SELECT id FROM accounts WHERE owner = 'bob' AND asset = 'BTC') AND version = 2;
        UPDATE accounts AS a
           SET available = 6, head = (SELECT hash FROM entries WHERE account = a.id AND version = 2)
         WHERE owner = 'bob' AND asset = 'BTC'";
    desk.damage(rewrite).await;
    assert_eq!(full(&desk).await, ["account_differs account/bob/BTC"]);
}

#[tokio::test]
async fn books_that_lack_a_seal_or_have_another_are_halted_once_until_somebody_resumes() {
    let mut desk = Desk::open().await;
    let (_, seal) = news(&desk).await;
    let later = Seal { seq: seal.seq + 3, entries: seal.entries + 40, digest: "ab".into() };
    let other = Seal { digest: "00".into(), ..seal.clone() };
    for (foreign, why) in
        [(later, "an earlier run has seen 4 with"), (other, "is not the one that an earlier run has made")]
    {
        let said = desk.books.seal_check(&foreign).await.unwrap().unwrap();
        assert!(said.contains(why), "{said}");
        assert_eq!(desk.texts("SELECT concat_ws(' ', scope, payouts) FROM halts").await, ["all t"]);
        sqlx::raw_sql("SELECT halt_lift('all', NULL, 'olga', 'compared')").execute(&mut desk.owner).await.unwrap();
        // Somebody has decided; to say it again would halt them again.
        assert!(desk.books.seal_check(&foreign).await.unwrap().is_some());
        assert_eq!(desk.texts("SELECT scope FROM halts").await, Vec::<String>::new());
    }
    assert_eq!(desk.texts("SELECT kind FROM findings WHERE state = 'open'").await, ["books_restored"; 2]);
}

/// Its transaction ids are those of another cluster.
#[tokio::test]
async fn books_that_were_copied_into_another_cluster_are_read_from_their_beginning() {
    let mut desk = Desk::open().await;
    let (_, seal) = news(&desk).await;
    desk.damage("UPDATE seals SET cursor = '900000000000' WHERE seq = 1").await;
    desk.books.deposit_credit("binance", "d-1", Some("bob"), "BTC", "1".parse().unwrap()).await.unwrap();
    desk.damage("UPDATE entries SET kind = 'gift' WHERE key = 'deposit/binance/d-1'").await;
    let (found, next) = news(&desk).await;
    assert_eq!(found, ["entry_broken entry/deposit/binance/d-1/1"]);
    assert_eq!(next.entries, seal.entries + 1);
}
