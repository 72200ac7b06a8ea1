use backstop_domain::{Refusal, RefusalKind};

/// Why a call of the books gave no result.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// Refused for good; nothing changed.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// Not answered, or not now. The call may have been committed: ask again with the same key.
    #[error("the books did not answer: {0}")]
    Unavailable(sqlx::Error),
    /// The books answered what this program does not understand.
    #[error("unreadable answer of the books: {0}")]
    Unreadable(String),
}

impl From<sqlx::Error> for BooksError {
    fn from(error: sqlx::Error) -> Self {
        let refusal = error.as_database_error().and_then(|database| {
            let kind = RefusalKind::from_sqlstate(database.code()?.as_ref())?;
            let detail = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?.detail()?;
            let detail = serde_json::from_str(detail).ok()?;
            Some(Refusal { kind, message: database.message().to_owned(), detail })
        });
        match refusal {
            Some(refusal) => Self::Refused(Box::new(refusal)),
            None => Self::Unavailable(error),
        }
    }
}

impl BooksError {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Unavailable(_) | Self::Unreadable(_) => None,
        }
    }
}
