//! Goal: whatever is done to the books behind the functions' back is seen: at once where it is new, by the full pass where it
//! is old; and books that were put back or rewritten disagree with what was sealed.

use backstop_activities::reconcile::FullPass;
use backstop_domain::reconcile::{Deviation, Seal};

use crate::{
    desk::{Desk, LONG, order, paid},
    stock::sell,
};

/// New entries in one statement: what is seen does not depend on it.
const AT_ONCE: i32 = 2;

fn told(deviations: &[Deviation]) -> Vec<String> {
    deviations.iter().map(|found| format!("{} {}", found.kind, found.subject)).collect()
}

/// What is wrong with what is new; then seals it.
async fn news(desk: &Desk) -> (Vec<String>, Seal) {
    let news = desk.books.books_news(AT_ONCE).await.unwrap();
    (told(&news.deviations), desk.books.seal(&news.cursor).await.unwrap())
}

async fn full(desk: &Desk) -> Vec<String> {
    let mut pass = FullPass::default();
    while pass.next_page(&desk.books).await.unwrap() {}
    told(&pass.deviations)
}

impl Desk {
    /// What custody takes for the house's, of all assets, beside what was declared.
    async fn house(&mut self) -> String {
        let sql = "SELECT trim_scale(sum(house) - (SELECT coalesce(sum(amount), 0) FROM house_positions))::text FROM custody_books()";
        self.texts(sql).await.remove(0)
    }
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
        assert!(desk.books.seal_check(&seal).await.unwrap().is_none());
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
        (
            "UPDATE accounts SET locked = locked + 1 WHERE owner = 'bob' AND asset = 'BTC'",
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
        // Of one payout, in the entries alone.
        (
            "UPDATE entries SET d_available = -0.3, d_transit = 0.3 WHERE key = 'refund/open/open'",
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

/// Whoever may post chains well whatever he likes; only the business row that it lacks tells.
#[tokio::test]
async fn an_entry_that_no_business_row_asks_for_is_found_however_well_it_is_chained() {
    for (key, line, kind, counter, parts) in [
        ("x", 1, "deposit_claim", "'suspense'", "-1, 0, 0"),
        ("x", 1, "gift", "'world'", "1, 0, 0"),
        ("deposit/binance/none", 1, "deposit", "'world'", "1, 0, 0"),
        // In the name of a row that is there, beside what it asks for.
        ("deposit/binance/d-1", 2, "deposit", "'world'", "1, 0, 0"),
        ("deposit/binance/d-1/claim", 2, "deposit_claim", "'suspense'", "1, 0, 0"),
        ("refund/settled/return", 1, "payout_return", "NULL", "0.2, 0, -0.2"),
        ("refund/none/open", 1, "payout_open", "NULL", "-0.2, 0, 0.2"),
        ("refund/open/settle", 1, "payout_settle", "'world'", "0, 0, -0.1"),
        ("reservation/none/open", 1, "reservation_open", "NULL", "-1, 1, 0"),
        ("adjustment/none", 1, "adjustment", "'adjustment'", "1, 0, 0"),
        ("fill/none/BTCUSDT:1", 2, "fill_in", "'market:binance'", "1, 0, 0"),
        ("suspended_fill/binance/1/BTCUSDT:1/give", 2, "suspended_fill_given", "'suspense'", "1, 0, 0"),
        ("reward/none", 1, "reward_pool", "'rewards:none'", "-1, 0, 0"),
        ("reward/none", 3, "reward_credit", "'rewards:none'", "1, 0, 0"),
    ] {
        let mut desk = Desk::open().await;
        history(&desk).await;
        news(&desk).await;
        let of = "(SELECT id FROM accounts WHERE owner = 'bob' AND asset = 'BTC')";
        let forge = format!("SELECT post('{key}', {line}, '{kind}', {of}, {counter}, {parts})");
        sqlx::raw_sql(sqlx::AssertSqlSafe(forge)).execute(&mut desk.owner).await.unwrap();
        let found = format!("entry_without_row entry/{key}/{line}");
        assert_eq!(news(&desk).await.0, [found.as_str()], "{kind}");
        assert!(full(&desk).await.contains(&found), "{kind}");
    }
}

/// A row says one amount on one account, and its entry has to be that.
#[tokio::test]
async fn an_entry_that_is_another_than_its_business_row_asks_for_is_found() {
    for (damage, found) in [
        ("UPDATE deposits SET amount = 2 WHERE deposit_id = 'd-1'", "entry/deposit/binance/d-1/1"),
        ("UPDATE deposits SET account = 1 WHERE deposit_id = 'd-1'", "entry/deposit/binance/d-1/1"),
        ("UPDATE deposits SET deposit_id = 'd-2' WHERE deposit_id = 'd-1'", "entry/deposit/binance/d-1/1"),
        ("UPDATE payouts SET network_fee = 0.002 WHERE payout_id = 'refund/settled'", "entry/refund/settled/settle/2"),
        (
            "UPDATE payouts SET state = 'returned', network_fee = NULL WHERE payout_id = 'refund/settled'",
            "entry/refund/settled/settle/1",
        ),
    ] {
        let mut desk = Desk::open().await;
        history(&desk).await;
        news(&desk).await;
        desk.damage(damage).await;
        let seen = full(&desk).await;
        assert!(seen.contains(&format!("entry_without_row {found}")), "{damage}: {seen:?}");
        assert!(seen.iter().all(|found| found.starts_with("entry_without_row")), "{damage}: {seen:?}");
    }
}

/// Makes bob's chain right again, whatever it says.
const REHASH: &str = "
    DO $$
    DECLARE
        e    entries;
        last bytea := '';
    BEGIN
        FOR e IN
            SELECT x.* FROM entries AS x JOIN accounts AS a ON a.id = x.account
             WHERE owner = 'bob' AND asset = 'BTC' ORDER BY x.version
        LOOP
            last := sha256(last || convert_to(entry_text(e.key, e.line, e.kind, e.account, e.version, e.counter,
                e.d_available, e.d_locked, e.d_transit, e.available_after, e.locked_after, e.at), 'UTF8'));
            UPDATE entries SET hash = last WHERE account = e.account AND version = e.version;
        END LOOP;
        UPDATE accounts SET head = last WHERE owner = 'bob' AND asset = 'BTC';
    END $$";

/// Each rule by itself, where all hashes are right.
#[tokio::test]
async fn what_an_entry_says_is_held_against_the_one_before_it() {
    const BOB: &str = "account = (SELECT id FROM accounts WHERE owner = 'bob' AND asset = 'BTC')";
    for (damage, why) in [
        (
            format!("UPDATE entries SET available_after = available_after + 1 WHERE version = 2 AND {BOB}"),
            "its balance is not the one before it and its own change",
        ),
        (
            format!("UPDATE entries SET locked_after = locked_after + 1 WHERE version = 2 AND {BOB}"),
            "its balance is not the one before it and its own change",
        ),
        (
            format!("UPDATE entries SET d_available = -1, available_after = -1 WHERE version = 1 AND {BOB}"),
            "its balance is negative",
        ),
        (
            format!(
                "DELETE FROM entries WHERE version = 1 AND {BOB};
                 UPDATE entries SET d_available = available_after WHERE version = 2 AND {BOB}"
            ),
            "the version before it is missing",
        ),
    ] {
        let mut desk = Desk::open().await;
        history(&desk).await;
        desk.damage(&format!("{damage}; {REHASH}")).await;
        let news = desk.books.books_news(AT_ONCE).await.unwrap();
        let reasons: Vec<&str> = news.deviations.iter().filter_map(|found| found.evidence["why"].as_str()).collect();
        assert!(reasons.contains(&why), "{damage}: {reasons:?}");
    }
}

/// An account may be longer than a page.
#[tokio::test]
async fn what_is_in_transit_is_summed_up_over_all_pages_of_an_account() {
    let mut desk = Desk::open().await;
    history(&desk).await;
    let pages = async || {
        let (mut place, mut sums) = ((0, 0), ("0".to_owned(), "0".to_owned()));
        let (mut found, mut pages) = (Vec::new(), 0);
        while let Some(page) = desk.books.books_page(place, (&sums.0, &sums.1), 2).await.unwrap() {
            (place, sums) = ((page.account, page.version), (page.transit, page.house));
            found.extend(told(&page.deviations));
            pages += 1;
        }
        (found, pages)
    };
    let (found, many) = pages().await;
    assert!(found.is_empty() && many > 3, "{found:?} on {many} pages");
    sqlx::raw_sql("SET session_replication_role = replica").execute(&mut desk.owner).await.unwrap();
    let damage = "UPDATE payouts SET amount = 0.3, in_transit = 0.3 WHERE payout_id = 'refund/open'";
    sqlx::raw_sql(damage).execute(&mut desk.owner).await.unwrap();
    let found = ["entry_without_row entry/refund/open/open/1", "account_differs account/alice/BTC"];
    assert_eq!(pages().await.0, found);
}

/// What the house has paid is not added up from the beginning each time. Of what commits late nothing is left out, nor counted
/// twice.
#[tokio::test]
async fn what_the_house_has_paid_is_summed_up_when_it_is_sealed() {
    let mut desk = Desk::trading().await;
    let sums = "SELECT concat_ws(' ', a.owner, a.asset, trim_scale(amount)) FROM house_sums JOIN accounts AS a ON a.id = account";
    for order in ["o-1", "o-2"] {
        desk.placed(&sell(order)).await;
    }
    desk.fill("o-1", "1", ("0.04", "1200"), ("0.01", "BNB")).await;
    assert_eq!(desk.house().await, "-0.01");
    // What is newer than a transaction that still runs is sealed, and read again.
    let mut late = desk.database.owner().await;
    sqlx::raw_sql("BEGIN; SELECT deposit_credit('binance', 'late', 'bob', 'BTC', 1)").execute(&mut late).await.unwrap();
    desk.fill("o-1", "2", ("0.04", "1200"), ("0.02", "BNB")).await;
    news(&desk).await;
    assert_eq!((desk.texts(sums).await, desk.house().await.as_str()), (vec!["alice BNB -0.03".to_owned()], "-0.03"));
    // What was not committed when it was sealed is not lost.
    let fill = "COMMIT; BEGIN; SELECT fill_book('o-2', '1', 0.05, 1500, 0.0003, 'BTC')";
    sqlx::raw_sql(fill).execute(&mut late).await.unwrap();
    news(&desk).await;
    assert_eq!(desk.house().await, "-0.03");
    sqlx::raw_sql("COMMIT").execute(&mut late).await.unwrap();
    assert_eq!(desk.house().await, "-0.0303");
    news(&desk).await;
    assert_eq!(desk.house().await, "-0.0303");
    desk.fill("o-1", "3", ("0.02", "600"), ("0.04", "BNB")).await;
    assert_eq!(desk.house().await, "-0.0703");
    assert_eq!(full(&desk).await, Vec::<String>::new());
    news(&desk).await;
    assert_eq!(desk.house().await, "-0.0703");
    assert_eq!(full(&desk).await, Vec::<String>::new());
    desk.damage("UPDATE house_sums SET amount = amount + 1 WHERE amount = -0.07").await;
    assert_eq!(desk.house().await, "0.9297");
    assert_eq!(full(&desk).await, ["house_sum_differs account/alice/BNB"]);
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
        UPDATE accounts SET available = 6 WHERE owner = 'bob' AND asset = 'BTC'";
    desk.damage(&format!("{rewrite}; {REHASH}")).await;
    // Who is so thorough has to rewrite the business row as well.
    let found = ["entry_without_row entry/deposit/binance/demo-bob-BTC/1", "account_differs account/bob/BTC"];
    assert_eq!(full(&desk).await, found);
}

#[tokio::test]
async fn books_that_lack_a_seal_or_have_another_are_halted_once_until_somebody_resumes() {
    let mut desk = Desk::open().await;
    let (_, seal) = news(&desk).await;
    let later = Seal { seq: seal.seq + 3, entries: seal.entries + 40, digest: "ab".into() };
    let other = Seal { digest: "00".into(), ..seal.clone() };
    let more = Seal { entries: seal.entries + 1, ..seal.clone() };
    let not_the_one = "is not the one that an earlier run has made";
    for (foreign, why) in [(later.clone(), "an earlier run has seen 4 with"), (other, not_the_one)] {
        let said = desk.books.seal_check(&foreign).await.unwrap().unwrap();
        assert!(said.why.contains(why) && said.is_open && said.halted, "{said:?}");
        assert_eq!(desk.texts("SELECT concat_ws(' ', scope, payouts) FROM halts").await, ["all t"]);
        sqlx::raw_sql("SELECT halt_lift('all', NULL, 'olga', 'compared')").execute(&mut desk.owner).await.unwrap();
        // Somebody has decided; to say it again would halt them again.
        let said = desk.books.seal_check(&foreign).await.unwrap().unwrap();
        assert!(said.is_open && !said.halted, "{said:?}");
        assert_eq!(desk.texts("SELECT scope FROM halts").await, Vec::<String>::new());
    }
    assert_eq!(desk.texts("SELECT kind FROM findings WHERE state = 'open'").await, ["books_restored"; 2]);
    assert!(desk.books.finding_acknowledge(1, "olga", "compared").await.unwrap());
    assert!(!desk.books.seal_check(&later).await.unwrap().unwrap().is_open);
    assert!(desk.books.seal_check(&more).await.unwrap().unwrap().why.contains(not_the_one));
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
