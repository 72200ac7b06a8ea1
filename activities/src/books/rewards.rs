use backstop_domain::{RewardReceipt, RewardRequest};
use serde::Deserialize;
use serde_json::Value;

use super::{Books, BooksError};

/// A reward as a transition has left it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RewardStanding {
    /// False when the transition had been made before.
    pub applied: bool,
    /// The reward as it is now.
    #[serde(flatten)]
    pub receipt: RewardReceipt,
}

fn read(standing: Value) -> Result<RewardStanding, BooksError> {
    serde_json::from_value(standing).map_err(|error| BooksError::Unreadable(format!("reward: {error}")))
}

fn fee_bps(request: &RewardRequest) -> i32 {
    i32::try_from(request.platform_fee_bps).unwrap_or(i32::MAX)
}

impl Books {
    /// Splits a reward and credits every part of it in one commit: all of them or none.
    ///
    /// # Errors
    /// Refused when the input can't work, the pool holds too little or is frozen, or the id is taken or ended.
    pub async fn reward_distribute(&self, request: &RewardRequest, holder: &str) -> Result<RewardStanding, BooksError> {
        let query = sqlx::query_scalar("SELECT decimals FROM assets WHERE asset = $1");
        let decimals: Option<i16> = query.bind(request.asset_id.as_str()).fetch_optional(self.pool()).await?;
        // What can't be split, because the asset is unknown or has fewer places, the books refuse by name.
        let split = decimals.and_then(|decimals| request.split(u32::try_from(decimals).ok()?)).unwrap_or_default();
        let (users, shares): (Vec<&str>, Vec<String>) =
            request.shares.iter().map(|(user, share)| (user.as_str(), share.to_string())).unzip();
        let sql = "SELECT reward_distribute($1, $2, $3, $4, $5, $6::numeric, $7, $8, nullif($9, '')::numeric, $10,
                                            $11::text[]::numeric[], $12::text[]::numeric[])";
        let query = sqlx::query_scalar(sql).bind(request.reward_id.as_str()).bind(holder).bind(request.content());
        let query = query.bind(request.pool.as_str()).bind(request.asset_id.as_str()).bind(request.amount.to_string());
        let query = query.bind(fee_bps(request)).bind(request.requested_by.as_str()).bind(split.platform_fee);
        read(query.bind(users).bind(shares).bind(split.allocations).fetch_one(self.pool()).await?)
    }

    /// Undoes a distribution that may or may not have happened; leaves a tombstone where it did not.
    ///
    /// # Errors
    /// `TooLate` where it did; refused when the id has other content.
    pub async fn reward_abandon(
        &self,
        request: &RewardRequest,
        holder: &str,
        reason: &str,
    ) -> Result<RewardStanding, BooksError> {
        let sql = "SELECT reward_abandon($1, $2, $3, $4, $5, $6::numeric, $7, $8, $9)";
        let query = sqlx::query_scalar(sql).bind(request.reward_id.as_str()).bind(holder).bind(request.content());
        let query = query.bind(request.pool.as_str()).bind(request.asset_id.as_str()).bind(request.amount.to_string());
        let query = query.bind(fee_bps(request)).bind(request.requested_by.as_str()).bind(reason);
        read(query.fetch_one(self.pool()).await?)
    }
}
