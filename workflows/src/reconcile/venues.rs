//! The checks against the venues. A venue that can't be looked at is told, and keeps no other check from being made.

use std::{collections::BTreeMap, time::Duration};

use backstop_activities::{
    books::CustodyRow,
    reconcile::{
        CheckInput, ChecksMade, Compare, CustodyActivities, CustodyReport, Holding, MadeActivities, VenueCheck,
        VenueChecks,
    },
};
use backstop_domain::reconcile::CheckReport;
use temporalio_common::ActivityDefinition;
use temporalio_sdk::ActivityOptions;

use super::{CHECK, Ctx, quick, told};
use crate::{
    call::{Named, venue_options},
    failure::{StepFailure, classify},
    saga::begin,
    timer::wait_at_most,
    venue_queue,
};

/// How long a check may take at a venue of which another could not be made: it is probably down, or nobody serves it.
const CHECK_OF_SILENT: Duration = Duration::from_secs(15);
/// How often the venues' balances are looked at before it is said that they don't hold still.
const LOOKS_MAX: u32 = 5;
/// From one look to the next.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Every venue, and then what all of them hold together.
pub(super) async fn check(ctx: &Ctx, venues: &[String], input: &CheckInput) {
    let mut blind = None;
    for venue in venues {
        let input = of_venue(input, venue);
        let checks = [
            ("payouts", named(&VenueChecks::payouts)),
            ("orders", named(&VenueChecks::orders)),
            ("deposits", named(&VenueChecks::deposits)),
        ];
        let mut silent = None;
        for (name, activity) in checks {
            let name = format!("{name}/{venue}");
            let step = begin(ctx, &name, "none: a look");
            let within = if silent.is_none() { CHECK } else { CHECK_OF_SILENT };
            let options = options(ctx, venue, within, &format!("check {name}"));
            let checked = ctx.execute_activity(activity, input.clone(), options).await;
            let checked = checked.map_err(|error| unseen(venue, &classify(&error)));
            silent = silent.or(checked.as_ref().err().cloned());
            told(ctx, step, &name, checked);
        }
        blind = blind.or(silent);
    }
    let step = begin(ctx, "custody", "none: a look");
    let checked = match blind {
        None => custody(ctx, venues, input).await,
        Some(unseen) => Err(unseen),
    };
    told(ctx, step, "custody", checked);
    note_made(ctx, venues, input).await;
}

/// Has it found which of them have not been possible for long. What can't be said now the next run says.
async fn note_made(ctx: &Ctx, venues: &[String], input: &CheckInput) {
    let of_venues = |check: &CheckReport| {
        check.check == "custody"
            || check.check.split_once('/').is_some_and(|(_, name)| venues.iter().any(|v| v == name))
    };
    let checks = ctx.state(|run| run.report.checks.iter().filter(|check| of_venues(check)).cloned().collect());
    let made = ChecksMade { run: input.clone(), checks };
    let _ = ctx.execute_activity(MadeActivities::note, made, quick(ctx, "note which checks were made")).await;
}

fn of_venue(input: &CheckInput, venue: &str) -> VenueCheck {
    VenueCheck { run: input.run.clone(), began_us: input.began_us, venue: venue.to_owned() }
}

fn named<A: ActivityDefinition<Input = VenueCheck, Output = CheckReport>>(
    activity: &A,
) -> Named<VenueCheck, CheckReport> {
    Named::of(activity)
}

fn options(ctx: &Ctx, venue: &str, within: Duration, summary: &str) -> ActivityOptions {
    let queue = venue_queue(ctx.task_queue(), venue);
    venue_options(&queue, Some(within), summary, &ctx.cancellation_token())
}

fn unseen(venue: &str, failure: &StepFailure) -> StepFailure {
    StepFailure::Expired(format!("{venue} could not be looked at: {failure}"))
}

/// What has been seen of an asset so far.
#[derive(Clone)]
enum Seen {
    /// It fitted once; or it differed by the same twice in a row.
    Settled(CustodyRow),
    Differed(CustodyRow),
    Moved(CustodyRow),
}

/// Looks again while anything moves, or differs for the first time.
async fn custody(ctx: &Ctx, venues: &[String], input: &CheckInput) -> Result<CheckReport, StepFailure> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut looks = 0;
    while looks < LOOKS_MAX && (looks == 0 || seen.values().any(|seen| !matches!(seen, Seen::Settled(_)))) {
        if looks > 0 {
            wait_at_most(ctx, LOOK_AGAIN, ctx.cancelled()).await;
        }
        if ctx.cancellation_token().is_cancelled() {
            return Err(StepFailure::Cancelled);
        }
        looks += 1;
        for row in look(ctx, venues, input).await? {
            let asset = row.asset.clone();
            let now = judge(seen.remove(&asset), row);
            seen.insert(asset, now);
        }
    }
    let [differs, moving] = [Vec::new(), Vec::new()];
    let (run, began_us) = (input.run.clone(), input.began_us);
    let mut report = CustodyReport { run, began_us, differs, moving, still: Vec::new(), looks };
    for seen in seen.into_values() {
        match seen {
            Seen::Settled(row) => {
                report.still.push(row.asset.clone());
                if row.state == "differs" {
                    report.differs.push(row);
                }
            }
            Seen::Differed(row) | Seen::Moved(row) => report.moving.push(row),
        }
    }
    let reported = ctx.execute_activity(CustodyActivities::report, report, quick(ctx, "report custody")).await;
    reported.map_err(|error| classify(&error))
}

fn judge(before: Option<Seen>, row: CustodyRow) -> Seen {
    match before {
        Some(settled @ Seen::Settled(_)) => settled,
        Some(Seen::Differed(last)) if row.state == "differs" && last.rest == row.rest => Seen::Settled(row),
        _ => match row.state.as_str() {
            "fits" => Seen::Settled(row),
            "differs" => Seen::Differed(row),
            _ => Seen::Moved(row),
        },
    }
}

/// One look: the books, every venue, and the books again.
async fn look(ctx: &Ctx, venues: &[String], input: &CheckInput) -> Result<Vec<CustodyRow>, StepFailure> {
    let read = |error| classify(&error);
    let options_of_books = || quick(ctx, "look at custody");
    let before = ctx.execute_activity(CustodyActivities::before, (), options_of_books()).await.map_err(read)?;
    let mut holdings: Vec<Holding> = Vec::new();
    for venue in venues {
        let input = of_venue(input, venue);
        let options = options(ctx, venue, CHECK, &format!("see what {venue} holds"));
        let held = ctx.execute_activity(VenueChecks::holdings, input, options).await;
        holdings.extend(held.map_err(|error| unseen(venue, &classify(&error)))?);
    }
    let compare = Compare { before, holdings };
    ctx.execute_activity(CustodyActivities::compare, compare, options_of_books()).await.map_err(read)
}

#[cfg(test)]
mod tests {
    use super::{CustodyRow, Seen, judge};

    fn row(state: &str, rest: &str) -> CustodyRow {
        let [asset, note, held, owed, house, explained] = [(); 6].map(|()| String::new());
        CustodyRow { asset, state: state.into(), note, held, owed, house, explained, rest: rest.into() }
    }

    /// The looks of a run, as `state rest`; and what is believed in the end.
    #[test]
    fn a_difference_is_believed_when_two_looks_in_a_row_say_the_same() {
        for (looks, believed) in [
            (&[("fits", "0")][..], "fits"),
            (&[("differs", "1"), ("differs", "1")], "differs"),
            (&[("differs", "1"), ("fits", "0")], "fits"),
            (&[("differs", "1"), ("differs", "2")], "nothing"),
            (&[("differs", "1"), ("differs", "2"), ("differs", "2")], "differs"),
            (&[("differs", "1"), ("moving", "1"), ("differs", "1")], "nothing"),
            (&[("moving", "0"), ("fits", "0"), ("differs", "3")], "fits"),
            (&[("moving", "0"), ("moving", "0")], "nothing"),
        ] {
            let end = looks.iter().fold(None, |seen, (state, rest)| Some(judge(seen, row(state, rest))));
            let said = match end {
                Some(Seen::Settled(row)) => row.state,
                _ => "nothing".to_owned(),
            };
            assert_eq!(said, believed, "{looks:?}");
        }
    }
}
