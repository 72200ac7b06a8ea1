use backstop_activities::books::Books;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::servers::{POSTGRES_PORT, TEMPLATE, setting};

/// A database of the test's own: migrated, with the demo world's assets, networks and users. Left behind at the end,
/// like the server that holds it.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    port: u16,
}

impl Database {
    /// Copies the template of the shared server.
    pub async fn create() -> Self {
        let port = setting(POSTGRES_PORT).parse().unwrap();
        let name = format!("t{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&options(port, "backstop_owner", "postgres")).await.unwrap();
        let statement = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        Self { name, port }
    }

    /// The template itself, of a server that is one's own. (A copy would not survive a crash of the server: Postgres takes
    /// the next numbers of a copied sequence for logged, and gives them a second time.)
    pub fn of_own_server(port: u16) -> Self {
        Self { name: TEMPLATE.into(), port }
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

fn options(port: u16, login: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username(login).database(database)
}
