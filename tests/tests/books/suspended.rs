//! Goal: a trade of an order that the books don't know is nobody's: it waits in suspense, once, costs no user anything, and goes
//! back to its order should that turn up.

use backstop_activities::venue::TradeRecord;
use backstop_domain::RefusalKind;

use crate::{
    desk::{Desk, assert_refused},
    stock::{buy, sell},
};

const MARKET: (&str, &str) = ("binance", "BTCUSDT");
const CLIENT_ID: &str = "0123456789abcdef0123456789abcdef";

fn trade(id: &str, is_buyer: bool, fee: &str, fee_asset: &str) -> TradeRecord {
    TradeRecord {
        id: id.into(),
        order_id: "v-1".into(),
        price: "30000".into(),
        quantity: "0.04".into(),
        quote_quantity: "1200".into(),
        fee: fee.into(),
        fee_asset: fee_asset.into(),
        is_buyer,
        is_maker: true,
        traded_at_ms: 0,
    }
}

impl Desk {
    async fn suspend(&self, trade: &TradeRecord) -> bool {
        self.books.fill_suspend(MARKET, CLIENT_ID, trade).await.unwrap()
    }

    /// What an operator's word on a suspended trade comes to: the answer, or the refusal's code.
    async fn assign_fill(&mut self, trade_id: &str, to: &str) -> Result<bool, String> {
        let sql = "SELECT fill_assign('binance', 'v-1', $1, $2, 'olga', 'ticket 5')";
        let answer = sqlx::query_scalar(sql).bind(trade_id).bind(to).fetch_one(&mut self.owner).await;
        answer.map_err(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
    }

    /// What the house's own stock has given, and what the market has.
    pub(crate) async fn counters(&mut self) -> Vec<String> {
        self.texts(
            "SELECT concat_ws(' ', e.counter, a.asset, trim_scale(sum(e.d_counter)))
               FROM entries AS e JOIN accounts AS a ON a.id = e.account
              WHERE e.counter NOT IN ('world', 'fees') GROUP BY e.counter, a.asset HAVING sum(e.d_counter) <> 0
              ORDER BY e.counter, a.asset",
        )
        .await
    }
}

#[tokio::test]
async fn what_came_in_waits_and_the_house_pays_for_it_once() {
    let mut desk = Desk::trading().await;
    let (btc, usdt) = (desk.has("alice", "BTC").await, desk.has("alice", "USDT").await);
    let bought = trade("7", true, "0.001", "BNB");
    assert!(desk.suspend(&bought).await);
    assert!(!desk.suspend(&bought).await);
    assert_eq!(desk.has("~suspense", "BTC").await, "0.04 + 0");
    assert_eq!(
        desk.counters().await,
        [
            "house:binance BNB -0.001",
            "house:binance USDT -1200",
            "market:binance BTC -0.04",
            "market:binance USDT 1200"
        ]
    );
    // The other way round, with a fee in what came in, and one in what nobody knows.
    assert!(desk.suspend(&trade("8", false, "1", "USDT")).await);
    assert!(desk.suspend(&trade("9", false, "1", "MOON")).await);
    assert_eq!(desk.has("~suspense", "USDT").await, "2400 + 0");
    assert_eq!(
        desk.counters().await,
        [
            "house:binance BNB -0.001",
            "house:binance BTC -0.08",
            "house:binance USDT -1201",
            "market:binance BTC 0.04",
            "market:binance USDT -1200"
        ]
    );
    assert_eq!(desk.findings().await, ["fee_in_unknown_asset suspended_fill/binance/v-1/BTCUSDT:9"]);
    assert_eq!((desk.has("alice", "BTC").await, desk.has("alice", "USDT").await), (btc, usdt));
    let of = ("binance", "DOGEUSDT");
    assert_refused(desk.books.fill_suspend(of, CLIENT_ID, &bought).await, RefusalKind::InvalidInput, "field", "symbol");
    desk.assert_sound().await;
}

#[tokio::test]
async fn of_an_order_that_is_known_by_now_nothing_is_suspended() {
    let mut desk = Desk::trading().await;
    desk.books.order_open(&sell(CLIENT_ID)).await.unwrap();
    assert!(!desk.suspend(&trade("7", false, "1", "USDT")).await);
    // The venue may know it by another id, since it was cancelled.
    desk.books.order_open(&sell("o-2")).await.unwrap();
    desk.books.order_place("o-2", "v-1").await.unwrap();
    assert!(!desk.books.fill_suspend(MARKET, "another", &trade("7", false, "1", "USDT")).await.unwrap());
    assert_eq!(desk.counters().await, Vec::<String>::new());
    desk.assert_sound().await;
}

#[tokio::test]
async fn an_order_that_turns_up_takes_its_trades_back() {
    let mut desk = Desk::trading().await;
    assert!(desk.suspend(&trade("7", false, "1", "BNB")).await);
    assert!(desk.suspend(&trade("8", false, "1", "USDT")).await);
    desk.books.order_open(&sell("o-1")).await.unwrap();
    desk.books.order_place("o-1", "v-1").await.unwrap();
    assert!(desk.fill("o-1", "BTCUSDT:7", ("0.04", "1200"), ("1", "BNB")).await);
    assert!(!desk.fill("o-1", "BTCUSDT:7", ("0.04", "1200"), ("1", "BNB")).await);
    assert_eq!(desk.has("~suspense", "USDT").await, "1200 + 0");
    assert!(desk.fill("o-1", "BTCUSDT:8", ("0.04", "1200"), ("1", "USDT")).await);
    assert!(!desk.books.fill_suspend(MARKET, "another", &trade("7", false, "1", "BNB")).await.unwrap());
    assert_eq!(desk.has("~suspense", "USDT").await, "0 + 0");
    assert_eq!(desk.has("alice", "USDT").await, "12399 + 0");
    assert_eq!(desk.counters().await, ["house:binance BNB -1", "market:binance BTC 0.08", "market:binance USDT -2400"]);
    assert_eq!(desk.findings().await, ["order_placed_without_attempt order/o-1"]);
    desk.assert_sound().await;
}

/// Its order is there again, and its fills are not yet: custody must not count the trade twice.
#[tokio::test]
async fn a_suspended_trade_explains_no_difference_between_the_venue_and_the_books() {
    let mut desk = Desk::trading().await;
    desk.books.order_open(&sell("o-1")).await.unwrap();
    desk.books.order_place("o-1", "v-1").await.unwrap();
    let explained = "SELECT asset || ' ' || trim_scale(explained)
                       FROM custody_explained('binance', '[]', '[]', '[{\"client_id\": \"o-1\", \"executed\": \"0.04\"}]',
                                              '[{\"client_id\": \"o-1\", \"id\": \"7\", \"order_id\": \"v-1\", \"base\": \"0.04\",
                                                 \"quote\": \"1200\", \"fee\": \"1\", \"fee_asset\": \"USDT\"}]', 0)
                      WHERE explained <> 0 ORDER BY asset";
    assert_eq!(desk.texts(explained).await, ["BTC -0.04", "USDT 1199"]);
    // As if it had been suspended before the order was taken down.
    desk.damage(
        "INSERT INTO suspended_fills (venue, venue_order_id, trade_id, side, base_asset, quote_asset, base, quote, fee,
                                      fee_asset, house_fee)
         VALUES ('binance', 'v-1', 'BTCUSDT:7', 'sell', 'BTC', 'USDT', 0.04, 1200, 1, 'USDT', 1)",
    )
    .await;
    assert_eq!(desk.texts(explained).await, Vec::<String>::new());
}

/// Whoever has given it to somebody has to hear of it. The user gets what is his, the house pays, and what waits in suspense for
/// somebody else stays there.
#[tokio::test]
async fn what_was_given_away_meanwhile_is_not_taken_from_anybody_else() {
    for (given, others) in [("fill_assign", "0.5"), ("an adjustment", "0.01")] {
        let mut desk = Desk::trading().await;
        assert!(desk.suspend(&trade("7", true, "0.001", "BNB")).await);
        if given == "fill_assign" {
            desk.books.deposit_credit("binance", "d-9", None, "BTC", "0.5".parse().unwrap()).await.unwrap();
            for (to, expected) in
                [("bob", Ok(true)), ("bob", Ok(false)), ("alice", Err("BS004")), ("~suspense", Err("BS001"))]
            {
                assert_eq!(desk.assign_fill("BTCUSDT:7", to).await, expected.map_err(str::to_owned), "{to}");
            }
            assert_eq!(desk.assign_fill("BTCUSDT:8", "bob").await, Err("BS008".to_owned()));
            assert_eq!(desk.has("bob", "BTC").await, "0.54 + 0");
            assert_eq!(
                desk.acts().await.last().unwrap(),
                "assign fill suspended_fill/binance/v-1/BTCUSDT:7 to bob olga ticket 5"
            );
        } else {
            desk.adjust("a-1", "~suspense", "-0.03").await.unwrap();
        }
        desk.books.order_open(&buy("o-1")).await.unwrap();
        desk.books.order_place("o-1", "v-1").await.unwrap();
        assert!(desk.fill("o-1", "BTCUSDT:7", ("0.04", "1200"), ("0.001", "BNB")).await);
        assert_eq!(desk.has("~suspense", "BTC").await, format!("{others} + 0"));
        assert_eq!(desk.has("alice", "BTC").await, "2.04 + 0");
        let counters = desk.counters().await;
        for once in [
            "house:binance BNB -0.001",
            "house:binance BTC -0.04",
            "market:binance BTC -0.04",
            "market:binance USDT 1200",
        ] {
            assert!(counters.iter().any(|counter| counter == once), "{given}: {once}: {counters:?}");
        }
        assert!(!counters.iter().any(|counter| counter.starts_with("house:binance USDT")), "{counters:?}");
        let gone = "suspended_fill_gone suspended_fill/binance/v-1/BTCUSDT:7";
        assert!(desk.findings().await.iter().any(|finding| finding == gone), "{given}");
        assert_eq!(desk.assign_fill("BTCUSDT:7", "bob").await, Err("BS007".to_owned()));
        desk.assert_sound().await;
    }
}

/// Whichever of two processes commits first: the trade is the order's in the end, and only the order's.
#[tokio::test]
async fn it_is_suspended_and_booked_at_once() {
    for suspended_first in [true, false] {
        let mut desk = Desk::trading().await;
        desk.books.order_open(&sell("o-1")).await.unwrap();
        let one = desk.database.books(1).await;
        sqlx::query("BEGIN").execute(one.pool()).await.unwrap();
        let legs = ("0.04", "1200");
        if suspended_first {
            assert!(one.fill_suspend(MARKET, CLIENT_ID, &trade("7", false, "1", "USDT")).await.unwrap());
            desk.books.order_place("o-1", "v-1").await.unwrap();
        } else {
            one.order_place("o-1", "v-1").await.unwrap();
            assert!(one.fill_book("o-1", "BTCUSDT:7", legs, ("1", "USDT")).await.unwrap());
        }
        let other = tokio::spawn({
            let books = desk.books.clone();
            async move {
                if suspended_first {
                    books.fill_book("o-1", "BTCUSDT:7", legs, ("1", "USDT")).await.unwrap()
                } else {
                    books.fill_suspend(MARKET, CLIENT_ID, &trade("7", false, "1", "USDT")).await.unwrap()
                }
            }
        });
        desk.until_waiting(1).await;
        sqlx::query("COMMIT").execute(one.pool()).await.unwrap();
        assert_eq!(other.await.unwrap(), suspended_first);
        assert_eq!(desk.has("alice", "USDT").await, "11199 + 0");
        assert_eq!(desk.counters().await, ["market:binance BTC 0.04", "market:binance USDT -1200"]);
        desk.assert_sound().await;
    }
}
