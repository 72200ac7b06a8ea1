//! Judges a whole world by queries of its own: everything in the books, everything at the exchange, and both together.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};

use super::trading::Trading;
use crate::{
    World, books_checker,
    exchange::{Withdrawal, client_id},
};

#[derive(Debug, FromRow)]
struct Payout {
    id: String,
    state: String,
    asset: String,
    amount: String,
    network_fee: Option<String>,
    venue_reference: Option<String>,
    in_transit: String,
}

const PAYOUTS: &str =
    "SELECT payout_id AS id, state, asset, amount::text, network_fee::text, venue_reference, in_transit::text
      FROM payouts";

/// What each asset's users put in, less what they have, what is under way, and what they gave for other assets.
const GONE: &str = "
    SELECT a.asset, (coalesce(d.amount, 0) - sum(a.available + a.locked) - coalesce(p.amount, 0)
                     - coalesce(f.amount, 0))::text
      FROM accounts AS a
      LEFT JOIN (SELECT d.content ->> 'asset_id' AS asset, sum(d.amount) AS amount FROM deposits AS d GROUP BY 1) AS d
           ON d.asset = a.asset
      LEFT JOIN (SELECT x.asset, sum(e.d_counter) AS amount
                   FROM entries AS e JOIN accounts AS x ON x.id = e.account WHERE e.key LIKE 'fill/%' GROUP BY 1) AS f
           ON f.asset = a.asset
      LEFT JOIN (SELECT asset, sum(in_transit) AS amount FROM payouts GROUP BY asset) AS p ON p.asset = a.asset
     GROUP BY a.asset, d.amount, p.amount, f.amount";

/// The states in which nobody knows yet whether it was paid.
const OPEN: [&str; 3] = ["opened", "attempted", "needs_operator"];

impl Payout {
    fn is_open(&self) -> bool {
        OPEN.contains(&self.state.as_str())
    }
}

/// Both books about everything, the exchange's as of a moment before and a moment after the books'.
struct Picture {
    unsound: Vec<String>,
    payouts: Vec<Payout>,
    gone: Vec<(String, String)>,
    trading: Trading,
    before: Vec<Withdrawal>,
    after: Vec<Withdrawal>,
    balances: BTreeMap<String, Decimal>,
    moved: BTreeMap<String, Decimal>,
}

impl Picture {
    async fn take(world: &World, books: &mut PgConnection) -> Self {
        let before = world.exchange.all_withdrawals().await;
        let unsound = books_checker::check(books).await;
        let gone = sqlx::query_as(GONE).fetch_all(&mut *books).await.unwrap();
        let payouts = sqlx::query_as(PAYOUTS).fetch_all(&mut *books).await.unwrap();
        let trading = Trading::take(&world.exchange, &mut *books).await;
        let (after, balances) = (world.exchange.all_withdrawals().await, world.exchange.balances().await);
        let moved = world.exchange.moved().await;
        Self { unsound, payouts, gone, trading, before, after, balances, moved }
    }

    fn paying(&self, payout_id: &str) -> Vec<&Withdrawal> {
        let client_id = client_id(payout_id);
        let ours = |paid: &&Withdrawal| paid.pays() && paid.client_id.as_deref() == Some(&client_id);
        self.after.iter().filter(ours).collect()
    }

    /// What must hold at every moment: nobody was paid twice, nor who has the money back.
    fn unsafe_now(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.unsound.iter().map(|what| format!("the books are unsound: {what}")).collect();
        wrong.extend(self.paid_twice());
        wrong.extend(self.trading.unsafe_now());
        for payout in &self.payouts {
            let paying = self.paying(&payout.id);
            match (payout.state.as_str(), paying.as_slice()) {
                ("settled", [paid]) => wrong.extend(differs(payout, paid)),
                ("settled", _) => wrong.push(format!("{payout:?} is not paid exactly once: {paying:?}")),
                (_, []) => {}
                _ if payout.is_open() => {}
                _ => wrong.push(format!("{payout:?} is over and unpaid, but the exchange paid: {paying:?}")),
            }
        }
        for paid in self.before.iter().filter(|paid| paid.pays()) {
            let known = |payout: &Payout| Some(client_id(&payout.id)) == paid.client_id;
            if !self.payouts.iter().any(known) {
                wrong.push(format!("the exchange paid what is no payout of the books: {paid:?}"));
            }
        }
        wrong
    }

    fn paid_twice(&self) -> Vec<String> {
        let mut by_client: BTreeMap<Option<&str>, Vec<&Withdrawal>> = BTreeMap::new();
        for paid in self.after.iter().filter(|paid| paid.pays()) {
            by_client.entry(paid.client_id.as_deref()).or_default().push(paid);
        }
        let twice = by_client.into_values().filter(|paid| paid.len() > 1);
        twice.map(|paid| format!("the exchange paid {} times: {paid:?}", paid.len())).collect()
    }

    /// What must hold besides once everything is over.
    fn unsettled(&self, world: &World) -> Vec<String> {
        let mut wrong = self.trading.unsettled();
        for payout in &self.payouts {
            let transit: Decimal = payout.in_transit.parse().unwrap();
            if payout.state != "needs_operator" && (payout.is_open() || !transit.is_zero()) {
                wrong.push(format!("{payout:?} is still in transit"));
            }
        }
        for (coin, initial) in world.exchange.initial_balances() {
            let paid: Decimal =
                self.after.iter().filter(|paid| paid.pays() && paid.coin == *coin).map(|paid| paid.amount).sum();
            let moved = self.moved.get(coin).copied().unwrap_or_default();
            if initial + moved - self.balances[coin] != paid {
                let has = self.balances[coin];
                wrong.push(format!("the exchange had {initial} {coin}, moved {moved}, has {has}, paid {paid}"));
            }
        }
        for (asset, gone) in &self.gone {
            let gone: Decimal = gone.parse().unwrap();
            let settled = self.payouts.iter().filter(|payout| payout.state == "settled" && payout.asset == *asset);
            let paid: Decimal = settled.flat_map(|payout| self.paying(&payout.id)).map(|paid| paid.amount).sum();
            if gone != paid {
                wrong.push(format!("{gone} {asset} left the users, the exchange paid {paid} for what is settled"));
            }
        }
        wrong
    }
}

fn differs(payout: &Payout, paid: &Withdrawal) -> Option<String> {
    let number = |text: &str| text.parse::<Decimal>().unwrap();
    let same = number(&payout.amount) == paid.amount
        && payout.network_fee.as_deref().map(number) == Some(paid.fee)
        && payout.venue_reference.as_deref() == Some(&paid.id)
        && payout.asset == paid.coin
        && paid.state == "completed";
    (!same).then(|| format!("{payout:?} differs from the exchange's record {paid:?}"))
}

/// What must hold at every moment, also in the middle of faults. Nothing while the books are down.
pub(super) async fn safety(world: &World) -> Vec<String> {
    match world.database.try_owner().await {
        Some(mut books) => Picture::take(world, &mut books).await.unsafe_now(),
        None => Vec::new(),
    }
}

/// What must hold once everything is over.
pub(super) async fn final_state(world: &World) -> Vec<String> {
    let mut books = world.database.owner().await;
    let picture = Picture::take(world, &mut books).await;
    let critical = "SELECT kind || ' of ' || subject FROM findings WHERE state = 'open' AND severity = 'critical'";
    let found: Vec<String> = sqlx::query_scalar(critical).fetch_all(&mut books).await.unwrap();
    let found = found.into_iter().map(|finding| format!("a critical finding is open: {finding}")).collect();
    [picture.unsafe_now(), picture.unsettled(world), found].concat()
}

/// What must hold where the books have lost history: nobody was paid twice, and where the two books differ somebody
/// sees it: the workflow waits for an operator, or a critical finding is open.
pub(super) async fn final_state_of_restored_books(world: &World, waiting_for: Option<&str>) -> Vec<String> {
    let picture = Picture::take(world, &mut world.database.owner().await).await;
    let told = is_told(world).await;
    let unsound = picture.unsound.iter().map(|what| format!("the books are unsound: {what}"));
    let twice = [picture.paid_twice(), picture.trading.placed_twice()].concat();
    let mut wrong: Vec<String> = unsound.chain(twice).collect();
    if waiting_for.is_none() && !told {
        let picture = Picture { trading: picture.trading.without_what_came_to_nothing(), ..picture };
        let differs = [picture.unsafe_now(), picture.unsettled(world)].concat();
        wrong.extend(differs.into_iter().map(|what| format!("nobody is told that {what}")));
    }
    wrong
}

/// Whether a critical finding is open.
pub(super) async fn is_told(world: &World) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM findings WHERE state = 'open' AND severity = 'critical')";
    sqlx::query_scalar(sql).fetch_one(&mut world.database.owner().await).await.unwrap()
}
