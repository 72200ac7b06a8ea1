use anyhow::{Context, Result};
use backstop_activities::books::MIGRATIONS;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};

/// Brings the books to this version, lets the worker's role log in, and makes the demo world.
///
/// # Errors
/// When the books refuse.
pub async fn prepare_books(owner: &PgConnectOptions, database: &str) -> Result<()> {
    let mut connection = PgConnection::connect_with(&owner.clone().database("postgres")).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(database)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        let statement = format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\""));
        connection.execute(sqlx::AssertSqlSafe(statement)).await.context("creating the database")?;
    }
    let mut connection = PgConnection::connect_with(&owner.clone().database(database)).await?;
    MIGRATIONS.run(&mut connection).await.context("migrating the books")?;
    connection.execute("ALTER ROLE backstop_worker LOGIN").await?;
    connection.execute(include_str!("demo.sql")).await.context("making the demo world")?;
    Ok(())
}
