use std::sync::OnceLock;

use backstop_domain::{InvalidInput, Refusal};
use serde_json::Value;
use temporalio_common::{
    data_converters::{
        GenericPayloadConverter, PayloadConversionError, SerializationContext, TemporalDeserializable,
        TemporalSerializable,
    },
    protos::temporal::api::common::v1::Payload,
};
use temporalio_sdk::{ApplicationFailure, WorkflowTermination};

use crate::json;

/// Input as somebody typed it. Decoding never fails: what is wrong with it is found by the workflow, which can then say
/// so and end. (A decoding error would fail the workflow *task*, and that is tried again for ever.)
#[derive(Clone, Debug)]
pub struct RawInput(Result<Option<Value>, InvalidInput>);

impl RawInput {
    /// The input of a start from our own code.
    pub fn of(value: Value) -> Self {
        Self(Ok(Some(value)))
    }

    /// Hands the input to a reader.
    ///
    /// # Errors
    /// The reader's, or what was wrong with the input as a whole.
    pub fn read<T>(&self, reader: impl FnOnce(Value) -> Result<T, InvalidInput>) -> Result<T, InvalidInput> {
        self.read_optional(|value| reader(value.ok_or_else(|| one("no input"))?))
    }

    /// The same, of a workflow that needs none.
    ///
    /// # Errors
    /// The reader's, or what was wrong with the input as a whole.
    pub fn read_optional<T>(
        &self,
        reader: impl FnOnce(Option<Value>) -> Result<T, InvalidInput>,
    ) -> Result<T, InvalidInput> {
        self.0.clone().and_then(reader)
    }
}

impl TemporalDeserializable for RawInput {
    fn from_payloads(_: &SerializationContext<'_>, payloads: Vec<Payload>) -> Result<Self, PayloadConversionError> {
        Ok(Self(match payloads.as_slice() {
            [] => Ok(None),
            [payload] if payload.metadata.get("encoding").is_some_and(|e| e.as_slice() == b"json/plain") => {
                json::read(&payload.data).map(Some)
            }
            [_] => Err(one("another encoding")),
            several => Err(one(&format!("{} inputs", several.len()))),
        }))
    }
}

impl TemporalSerializable for RawInput {
    fn to_payload(&self, ctx: &SerializationContext<'_>) -> Result<Payload, PayloadConversionError> {
        static NOTHING: OnceLock<Value> = OnceLock::new();
        let value = self.0.as_ref().ok().and_then(Option::as_ref);
        let value = value.unwrap_or_else(|| NOTHING.get_or_init(|| Value::Null));
        ctx.converter.to_payload(ctx, value)
    }
}

fn one(got: &str) -> InvalidInput {
    InvalidInput::new("input", format!("one JSON object, got {got}"))
}

/// Ends the workflow with a refusal that Temporal shows as the failure's type, message and details.
pub(crate) fn refuse(refusal: Refusal) -> WorkflowTermination {
    ApplicationFailure::builder(refusal.message)
        .type_name(refusal.kind.name())
        .non_retryable(true)
        .details(refusal.detail)
        .build()
        .into()
}
