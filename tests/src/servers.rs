//! The servers that all tests of a run share: one Postgres, one Temporal.

/// Names the port of the shared Postgres.
pub const POSTGRES_PORT: &str = "BACKSTOP_TEST_POSTGRES_PORT";
/// Names the address of the shared Temporal.
pub const TEMPORAL_ADDRESS: &str = "BACKSTOP_TEST_TEMPORAL_ADDRESS";
/// The database that every test's own is a copy of: migrated, with the demo world's assets and networks.
pub const TEMPLATE: &str = "backstop_template";

/// The value that `with-servers` has set.
pub fn setting(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `make test`, or `target/debug/with-servers cargo test ...`"))
}
