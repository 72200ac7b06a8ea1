use backstop_domain::{Refusal, RefusalKind};
use serde_json::Value;
use temporalio_common::protos::temporal::api::{
    enums::v1::RetryState,
    failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
};
use temporalio_sdk::{ActivityExecutionError, ApplicationFailure, ChildWorkflowExecutionError, WorkflowTermination};

use crate::input::refuse;

/// Why a step gave no result, in the only four ways that workflows decide by.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StepFailure {
    /// Refused for good; nothing changed.
    #[error("{0}")]
    Refused(Refusal),
    /// The workflow was cancelled while the step was waiting. It may have run.
    #[error("cancelled")]
    Cancelled,
    /// Its time was over. It may have run; the text is the last thing it said.
    #[error("{0}")]
    Expired(String),
    /// Anything else. It may have run.
    #[error("{0}")]
    Failed(String),
}

impl StepFailure {
    /// The failure's type, as it shows in Temporal.
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.kind.name(),
            Self::Cancelled => "Cancelled".into(),
            Self::Expired(_) => "Expired".into(),
            Self::Failed(_) => "Failed".into(),
        }
    }
}

impl From<StepFailure> for WorkflowTermination {
    fn from(failure: StepFailure) -> Self {
        match failure {
            StepFailure::Refused(refusal) => refuse(refusal),
            StepFailure::Cancelled => Self::cancelled(),
            StepFailure::Expired(message) => typed("Expired", message),
            StepFailure::Failed(message) => typed("Failed", message),
        }
    }
}

pub(crate) fn typed(kind: &str, message: String) -> WorkflowTermination {
    ApplicationFailure::builder(message).type_name(kind.to_owned()).non_retryable(true).build().into()
}

/// Reads an activity's error. The raw failure is walked from the outside in, because an application failure stands in the
/// failure itself for a local activity, in its cause for a regular one, and beneath a timeout after a worker's death.
pub fn classify(error: &ActivityExecutionError) -> StepFailure {
    error.failure().map_or_else(|| StepFailure::Failed(error.to_string()), read)
}

/// Reads a child workflow's error, in the same way. `None` when it was ended by force, and its operation may not be over.
pub(crate) fn classify_child(error: &ChildWorkflowExecutionError) -> Option<StepFailure> {
    let Some(failure) = error.failure() else { return Some(StepFailure::Failed(error.to_string())) };
    let mut chain = std::iter::successors(Some(failure), |f| f.cause.as_deref());
    let by_force = |f: &Failure| {
        matches!(f.failure_info, Some(FailureInfo::TerminatedFailureInfo(_) | FailureInfo::TimeoutFailureInfo(_)))
    };
    (!chain.any(by_force)).then(|| read(failure))
}

fn read(failure: &Failure) -> StepFailure {
    let chain: Vec<&Failure> = std::iter::successors(Some(failure), |f| f.cause.as_deref()).collect();
    let refusal = chain.iter().find_map(|f| match &f.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) if info.non_retryable => read_refusal(&f.message, info),
        _ => None,
    });
    if let Some(refusal) = refusal {
        return StepFailure::Refused(refusal);
    }
    let said = chain
        .iter()
        .rev()
        .find(|f| matches!(f.failure_info, Some(FailureInfo::ApplicationFailureInfo(_))))
        .map_or_else(|| failure.message.clone(), |f| f.message.clone());
    let has = |wanted: fn(&FailureInfo) -> bool| chain.iter().any(|f| f.failure_info.as_ref().is_some_and(wanted));
    if has(|info| matches!(info, FailureInfo::CanceledFailureInfo(_))) {
        StepFailure::Cancelled
    } else if has(is_expiry) {
        StepFailure::Expired(said)
    } else {
        StepFailure::Failed(said)
    }
}

fn is_expiry(info: &FailureInfo) -> bool {
    match info {
        FailureInfo::TimeoutFailureInfo(_) => true,
        FailureInfo::ActivityFailureInfo(activity) => activity.retry_state() == RetryState::Timeout,
        _ => false,
    }
}

fn read_refusal(message: &str, info: &ApplicationFailureInfo) -> Option<Refusal> {
    let kind = RefusalKind::from_name(&info.r#type)?;
    let details = info.details.as_ref().and_then(|details| details.payloads.first());
    let detail = details.and_then(|payload| serde_json::from_slice(&payload.data).ok()).unwrap_or(Value::Null);
    Some(Refusal { kind, message: message.to_owned(), detail })
}
