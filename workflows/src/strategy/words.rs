//! What operators say to a running strategy. That it is paused, the books know as well: a later run of it, should this one be
//! lost, goes on so.

use backstop_activities::strategies::{PauseStrategy, StrategyActivities};
use backstop_domain::strategy::{RunRequest, Word};
use temporalio_sdk::{WorkflowCancellationToken, WorkflowContext};

use super::{RunStrategy, is_lost};
use crate::{
    call::{Named, ledger},
    failure::StepFailure,
    input::RawInput,
};

pub(super) fn read(input: &RawInput) -> Result<Word, String> {
    input.read(Word::read).map_err(|invalid| format!("InvalidInput: {invalid}"))
}

/// Pauses or resumes it.
pub(super) async fn say(ctx: &WorkflowContext<RunStrategy>, input: &RawInput, paused: bool) -> Result<(), String> {
    let word = read(input)?;
    let request = ctx.state(|strategy| strategy.request.clone()).map_err(|invalid| invalid.to_string())?;
    match tell(ctx, &request, paused, &word).await {
        // Books that don't know the strategy, or not any more, are told when it is started.
        Err(failure) if !is_lost(&failure) => return Err(failure.to_string()),
        _ => ctx.state_mut(|strategy| strategy.ticks.paused = paused.then_some(word)),
    }
    Ok(())
}

/// Once it is started: an earlier run of it may have been paused, and so may this one, before the books knew it. What was said to this
/// run is newer.
pub(super) async fn agree(ctx: &WorkflowContext<RunStrategy>, request: &RunRequest, known: Option<Word>) {
    let (said, words) = ctx.state(|strategy| (strategy.ticks.paused.clone(), strategy.words));
    match (said, known) {
        (None, Some(word)) if words == 0 => ctx.state_mut(|strategy| strategy.ticks.paused = Some(word)),
        // Told again when it goes on in a new history, should it fail now.
        (Some(word), None) => drop(tell(ctx, request, true, &word).await),
        _ => {}
    }
}

async fn tell(
    ctx: &WorkflowContext<RunStrategy>,
    request: &RunRequest,
    paused: bool,
    word: &Word,
) -> Result<bool, StepFailure> {
    let strategy_key = request.strategy_key.to_string();
    let number = ctx.state_mut(|strategy| {
        strategy.words += 1;
        strategy.words
    });
    let summary = format!("{} strategy {strategy_key}", if paused { "pause" } else { "resume" });
    let word_id = format!("{}/{number}", ctx.run_id());
    let input = PauseStrategy { strategy_key, word_id, paused, word: word.clone() };
    ledger(ctx, Named::of(&StrategyActivities::pause), input, &summary, &WorkflowCancellationToken::new()).await
}
