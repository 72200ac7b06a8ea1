//! How the activities' errors show in Temporal: a refusal is final, everything else is tried again.

use std::{fmt, time::Duration};

use backstop_domain::Refusal;
use temporalio_sdk::{ApplicationFailure, activities::ActivityError};

use crate::books::BooksError;

impl From<BooksError> for Failure {
    fn from(error: BooksError) -> Self {
        match error {
            BooksError::Refused(refusal) => Self::Refused(*refusal),
            other => Self::Again { kind: "BooksUnavailable", message: other.to_string(), after: None },
        }
    }
}

/// Why an activity did not give a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Final.
    Refused(Refusal),
    /// Final, too, after it was tried often enough.
    Final { kind: &'static str, message: String },
    /// To be tried again, perhaps not before `after`.
    Again { kind: &'static str, message: String, after: Option<Duration> },
}

impl Failure {
    /// The same, and what it keeps from happening.
    pub(crate) fn about(self, what: &str) -> Self {
        match self {
            Self::Again { kind, message, after } => Self::Again { kind, message: format!("{what}: {message}"), after },
            other => other,
        }
    }

    /// The same, but with this pause where it names none.
    pub(crate) fn not_before(self, pause: Duration) -> Self {
        match self {
            Self::Again { kind, message, after: None } => Self::Again { kind, message, after: Some(pause) },
            other => other,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Final { message, .. } | Self::Again { message, .. } => f.write_str(message),
        }
    }
}

impl From<Failure> for ActivityError {
    fn from(failure: Failure) -> Self {
        let application = match failure {
            Failure::Refused(refusal) => ApplicationFailure::builder(refusal.message)
                .type_name(refusal.kind.name())
                .non_retryable(true)
                .details(refusal.detail)
                .build(),
            Failure::Final { kind, message } => {
                ApplicationFailure::builder(message).type_name(kind.to_owned()).non_retryable(true).build()
            }
            Failure::Again { kind, message, after } => {
                ApplicationFailure::builder(message).type_name(kind.to_owned()).maybe_next_retry_delay(after).build()
            }
        };
        Self::application(application)
    }
}
