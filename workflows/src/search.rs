//! The search attributes that operations carry, to be found by in Temporal.

use temporalio_common::search_attributes::SearchAttributeKey;

/// Whose money.
pub const USER_ID: SearchAttributeKey<String> = SearchAttributeKey::keyword("UserId");
/// Which asset.
pub const ASSET_ID: SearchAttributeKey<String> = SearchAttributeKey::keyword("AssetId");
/// Which venue.
pub const VENUE: SearchAttributeKey<String> = SearchAttributeKey::keyword("Venue");
/// Which strategy.
pub const STRATEGY_KEY: SearchAttributeKey<String> = SearchAttributeKey::keyword("StrategyKey");
/// How the operation stands.
pub const OPERATION_STATE: SearchAttributeKey<String> = SearchAttributeKey::keyword("OperationState");

/// What a reconciliation has sealed: the next one holds the books against it.
pub const BOOKS_SEAL: SearchAttributeKey<String> = SearchAttributeKey::keyword("BooksSeal");

/// The names of all of them; each is a keyword.
pub const ALL: [&str; 6] = ["UserId", "AssetId", "Venue", "StrategyKey", "OperationState", "BooksSeal"];
