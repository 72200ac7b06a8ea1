//! The spot market: symbols, their prices and depth, the orders and the trades they make.
//!
//! Everything but the account's own orders is synthetic: a depth around a middle price, the same for every taker.
//! Own orders don't meet each other. A resting order is filled when the price comes to it. The market is still unless
//! told otherwise: the price is frozen, and what rests does so until somebody moves the price, fills or ends it.

mod book;
mod depth;
pub(crate) mod engine;
mod fees;
mod order;
mod price;
mod symbol;

pub(crate) use book::{Book, Step};
pub(crate) use depth::Level;
pub(crate) use order::{Fill, Order, OrderEnd, OrderState, OrderType, Side, TimeInForce, Trade};
pub(crate) use symbol::{Symbol, load};

/// Decimal places of every amount the market shows (`baseAssetPrecision`, `quoteAssetPrecision`).
pub(crate) const PLACES: u32 = 8;
