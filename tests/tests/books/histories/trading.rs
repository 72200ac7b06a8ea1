//! The calls about strategies and their orders, and about orders that wait for their payments.

use std::time::Duration;

use backstop_activities::books::{Books, BooksError, PlacedOrder};
use backstop_domain::{PauseRequest, RefundRequest, payout::PayoutOrder};
use serde_json::json;

use super::calls::{Claim, Subject};
use crate::{
    desk::{SHORT, id},
    histories::script::Call,
    stock::{fund_with, pause},
};

pub(super) async fn make_order(books: &Books, call: Call, subject: &Subject) -> Result<Claim, BooksError> {
    let (name, user, holder) = (subject.name.as_str(), subject.user, subject.holder);
    let strategy = format!("s-{user}");
    let order = PlacedOrder {
        order_id: name,
        holder,
        strategy_key: &strategy,
        side: if name.ends_with(['0', '2']) { "sell" } else { "buy" },
        price: "100",
        quantity: subject.amount,
    };
    let claim = |applied, what: &str| Claim::when(applied, format!("order/{name} order.{what}"));
    match call {
        Call::OrderOpen => Ok(claim(books.order_open(&order).await?, "opened")),
        Call::OrderAbandon => Ok(claim(books.order_abandon(&order, "cancelled").await?, "abandoned")),
        Call::OrderAttempt => {
            books.order_attempt(name, holder, SHORT, Duration::ZERO).await?;
            Ok(claim(true, "attempted"))
        }
        Call::OrderPlace => Ok(claim(books.order_place(name, "v-1").await?, "placed")),
        Call::OrderVoid => {
            books.order_void(name, 0, true, "refused").await?;
            Ok(Claim::default())
        }
        Call::Fill { trade, beyond } => {
            let legs = if beyond { ("0.2", "20") } else { ("0.01", "1") };
            let fee = ["BTC", "USDT", "BNB"][usize::from(trade)];
            Ok(claim(books.fill_book(name, &trade.to_string(), legs, ("0.001", fee)).await?, "filled"))
        }
        Call::OrderEnd => {
            let sql = "SELECT trim_scale(coalesce(sum(base), 0))::text FROM fills WHERE order_id = $1";
            let executed: String = sqlx::query_scalar(sql).bind(name).fetch_one(books.pool()).await?;
            Ok(claim(books.order_end(name, &executed, "Filled").await?, "ended"))
        }
        Call::Start => {
            let sql = "SELECT strategy_start($1, $2, 'binance', 'BTC', 'USDT', '{}', 'olga')";
            let query = sqlx::query_scalar(sql).bind(&strategy).bind(user);
            let applied = query.fetch_one(books.pool()).await?;
            Ok(Claim::when(applied, format!("strategy/{strategy} strategy.running")))
        }
        Call::Stop => {
            let applied = books.strategy_stop(&strategy, "olga", "enough").await?;
            Ok(Claim::when(applied, format!("strategy/{strategy} strategy.stopped")))
        }
        Call::PauseOpen => {
            let request =
                PauseRequest { user_id: id(user), amount: subject.amount.parse().unwrap(), ..pause(name, &strategy) };
            books.pause_open(&request, holder).await?;
            Ok(Claim::default())
        }
        Call::PauseDrained => {
            books.pause_drained(name, holder).await?;
            Ok(Claim::default())
        }
        Call::PauseEnd { event } => {
            let event = ["block", "complete", "fail"][usize::from(event)];
            books.pause_end(name, holder, event, "so it is").await?;
            Ok(Claim::default())
        }
        _ => make_funding(books, call, subject).await,
    }
}

/// What these announce hangs on what they find: it is not claimed, but for the payments.
async fn make_funding(books: &Books, call: Call, subject: &Subject) -> Result<Claim, BooksError> {
    let (name, holder) = (subject.name.as_str(), subject.holder);
    match call {
        Call::Observe { needed } => {
            let (asset, network, amount) = if needed { ("BTC", "BTC", subject.amount) } else { ("USDT", "ETH", "20") };
            let deposit = format!("seen-{name}-{asset}");
            let new = books.deposit_observe("binance", &deposit, asset, network, amount, Some(name)).await?;
            Ok(Claim::when(new, format!("deposit/binance/{deposit} deposit")))
        }
        Call::FundingOpen => {
            let fields = json!({"user_id": subject.user, "base_amount": subject.amount, "quote_amount": "15"});
            books.funding_open(&fund_with(name, &fields), holder).await?;
            Ok(Claim::default())
        }
        Call::FundingExpire => {
            books.funding_expire(name, holder, "too late").await?;
            Ok(Claim::default())
        }
        Call::FundingRelease => {
            let act = books.funding_release(name, holder, "to trade").await?;
            Ok(Claim { act, ..Claim::default() })
        }
        Call::RefundPart { part } => {
            let status = books.funding_status(name).await?;
            let Some(refund) = status.refunds.into_iter().nth(usize::from(part / 2)) else {
                return Ok(Claim::default());
            };
            let refund = PayoutOrder::of_refund(&RefundRequest::read(refund.input).unwrap(), holder);
            match part % 2 {
                0 => Ok(Claim::of(&books.payout_open(&refund).await?)),
                _ => Ok(Claim::of(&books.payout_abandon(&refund, "cancelled").await?)),
            }
        }
        call => unreachable!("{call:?}"),
    }
}
