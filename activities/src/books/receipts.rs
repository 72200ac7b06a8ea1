//! What a consumer has processed.

use sqlx::PgConnection;

use super::BooksError;

/// Whether this is the first time that `consumer` sees `key`. Asked in the consumer's own transaction, which also does what
/// there is to do: then that is done once, however often the key comes and to how many processes. Whoever comes second
/// while the first has not committed waits for it, and is the first after all when the other is rolled back.
///
/// A consumer of deliveries, whose `balances` are in the same database as the books:
///
/// ```no_run
/// # use backstop_activities::books::{BooksError, once};
/// /// Takes an event of an entry to the user's balance. Answer the delivery with 2xx once this has returned.
/// async fn consume(pool: &sqlx::PgPool, event: &serde_json::Value) -> Result<(), BooksError> {
///     let mut transaction = pool.begin().await?;
///     if once(&mut transaction, "balances", event["id"].as_str().unwrap_or_default()).await? {
///         sqlx::query("UPDATE balances SET available = available + $2::numeric WHERE account = $1")
///             .bind(event["subject"].as_str())
///             .bind(event["data"]["d_available"].as_str())
///             .execute(&mut *transaction)
///             .await?;
///     }
///     transaction.commit().await?;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// `InvalidInput` without a consumer or a key; or when the books can't be reached.
pub async fn once(transaction: &mut PgConnection, consumer: &str, key: &str) -> Result<bool, BooksError> {
    let query = sqlx::query_scalar("SELECT backstop.once($1, $2)").bind(consumer).bind(key);
    Ok(query.fetch_one(transaction).await?)
}
