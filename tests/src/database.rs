use std::sync::Arc;

use backstop_activities::books::Books;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::servers::{POSTGRES_PORT, TEMPLATE, setting};

/// A database of the test's own: migrated, with the demo world's assets, networks and users. Nobody drops it at the test's
/// end, which may be a panic: whoever runs the server does, see [`drop_left`].
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    port: u16,
    /// Open for as long as the database is wanted.
    _in_use: Option<Arc<PgConnection>>,
}

impl Database {
    /// Copies the template of the shared server.
    pub async fn create() -> Self {
        let port = setting(POSTGRES_PORT).parse().unwrap();
        let name = format!("t{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&options(port, "backstop_owner", "postgres")).await.unwrap();
        let statement = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        let in_use = PgConnection::connect_with(&options(port, "backstop_owner", &name)).await.unwrap();
        Self { name, port, _in_use: Some(Arc::new(in_use)) }
    }

    /// The template itself, of a server that is one's own. (A copy would not survive a crash of the server: Postgres takes
    /// the next numbers of a copied sequence for logged, and gives them a second time.)
    pub fn of_own_server(port: u16) -> Self {
        Self { name: TEMPLATE.into(), port, _in_use: None }
    }

    /// Connects as the owner of the books, who may do everything.
    pub async fn owner(&self) -> PgConnection {
        self.connect("backstop_owner").await
    }

    /// Connects as the worker does.
    pub async fn worker(&self) -> PgConnection {
        self.connect("backstop_worker").await
    }

    /// The same, while the server may be down.
    pub async fn try_owner(&self) -> Option<PgConnection> {
        let options = options(self.port, "backstop_owner", &self.name).options([("search_path", "backstop")]);
        PgConnection::connect_with(&options).await.ok()
    }

    async fn connect(&self, login: &str) -> PgConnection {
        let options = options(self.port, login, &self.name).options([("search_path", "backstop")]);
        PgConnection::connect_with(&options).await.unwrap()
    }

    /// The books, by the worker's login.
    pub async fn books(&self, connections_max: u32) -> Books {
        Books::connect(options(self.port, "backstop_worker", &self.name), connections_max).await.unwrap()
    }

    /// What a worker process is told.
    pub fn url(&self) -> String {
        format!("postgres://backstop_worker@127.0.0.1:{}/{}", self.port, self.name)
    }
}

/// Drops the databases of ended tests: those that nobody is connected to, nor was at the last look. Gives back those that
/// nobody is connected to now.
///
/// # Errors
/// When the server can't be asked.
pub async fn drop_left(server: &PgConnectOptions, unused_before: &[String]) -> sqlx::Result<Vec<String>> {
    let mut server = PgConnection::connect_with(server).await?;
    let unused: Vec<String> = sqlx::query_scalar(
        "SELECT datname
           FROM pg_database
          WHERE datname ~ '^t[0-9a-f]{32}$'
            AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datid = pg_database.oid)",
    )
    .fetch_all(&mut server)
    .await?;
    for name in unused.iter().filter(|name| unused_before.contains(name)) {
        server.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name}"))).await?;
    }
    server.close().await?;
    Ok(unused)
}

fn options(port: u16, login: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username(login).database(database)
}
