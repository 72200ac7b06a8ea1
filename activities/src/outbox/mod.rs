//! Publishing: every event of the outbox and every entry of the books, delivered to whoever has asked for it, at least once
//! and in order within its aggregate.
//!
//! A plain loop, no workflow: its state is rows already, and every round would be history. Several may run; a stream, which
//! is one aggregate's way to one endpoint, is leased as a whole, so that none overtakes another in it.

mod file;
mod publisher;
mod signature;
mod sink;

pub use publisher::{Publisher, PublisherSettings};
pub use signature::{BadDelivery, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, TOLERANCE, WebhookSecret};
