#[tokio::test]
async fn a_database_is_there() {
    let database = backstop_tests::Database::create().await;
    database.books(2).await;
}
