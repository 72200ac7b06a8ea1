//! The way of a request of the public API: rate rules, then a fault if one strikes, then execution.

use std::sync::Arc;
use std::time::Duration;

use crate::answer::Answer;
use crate::api::{ApiRequest, execute};
use crate::app::App;
use crate::clock::{Millis, wall_ms, wall_us};
use crate::faults::{Hit, Kind, Twist};
use crate::params::peek;
use crate::request_log::Outcome;

/// What a client cannot read as an answer.
const GARBAGE: &str = "<html><head><title>502 Bad Gateway</title></head><body><center>";

/// The exchange is being stopped: what waits is given up, as a killed process would.
struct Stopped;

/// Works on a request and notes it in the log. `None` means that the connection is to be closed
/// without an answer.
///
/// Runs on a task of its own: like a real exchange behind a proxy, it does not notice that the client
/// has gone away.
pub(crate) async fn process(app: Arc<App>, request: ApiRequest) -> Option<Answer> {
    let client_id = client_id(&app, &request);
    let (method, path) = (&request.method, &request.path);
    let seq = app.log().begin(method, path, client_id.clone(), wall_us());
    app.traffic().begin(method, path);
    let hit = match app.gate() {
        Ok(()) => Ok(app.faults().pick(method, path, client_id.as_deref())),
        Err(refusal) => Err(refusal),
    };
    let (executed, sent) = match hit {
        Err(refusal) => both(Answer::from(refusal)),
        Ok(None) => both(execute(&app, &request, &Twist::default())),
        Ok(Some(hit)) => {
            app.log().note_fault(seq, hit.name, &hit.fault_id);
            meet(&app, &request, hit).await.unwrap_or((None, None))
        }
    };
    let noted = executed.or_else(|| sent.clone());
    let outcome = Outcome {
        status: sent.as_ref().map(|answer| answer.status),
        code: noted.as_ref().and_then(|answer| answer.code),
        order_id: noted.as_ref().and_then(|answer| answer.order_id).map(|id| id.to_string()),
        withdrawal_id: noted.and_then(|answer| answer.withdrawal_id),
    };
    app.log().finish(seq, outcome, wall_ms());
    app.traffic().end(method, path);
    sent
}

/// The client's id of what a request is about: for an order the one it was placed with, however the request names it. A
/// cancel carries an id of its own, too; the order's comes first.
fn client_id(app: &App, request: &ApiRequest) -> Option<String> {
    let sent = |name: &str| peek(&request.query, &request.body, name);
    let by_known_id = || {
        let id = sent("origClientOrderId")?;
        let ledger = app.ledger();
        let renamed = ledger.book().orders().iter().rev().find(|order| order.known_as(wall_ms()) == id);
        Some(renamed.map_or(id, |order| order.client_id.clone()))
    };
    let by_id = || {
        let id = sent("orderId")?.parse().ok()?;
        app.ledger().book().order(id).map(|order| order.client_id.clone())
    };
    sent("withdrawOrderId").or_else(by_known_id).or_else(by_id).or_else(|| sent("newClientOrderId"))
}

/// What execution came to, and what is sent; faults make the two differ.
type Ends = (Option<Answer>, Option<Answer>);

fn both(answer: Answer) -> Ends {
    (Some(answer.clone()), Some(answer))
}

async fn meet(app: &App, request: &ApiRequest, hit: Hit) -> Result<Ends, Stopped> {
    let run = |twist: &Twist| execute(app, request, twist);
    Ok(match &hit.kind {
        Kind::Drop => (None, None),
        Kind::LoseAnswer { twist } | Kind::Twisted { twist, lost: true } => (Some(run(twist)), None),
        Kind::Twisted { twist, lost: false } => both(run(twist)),
        Kind::Delay { ms } => {
            pause(app, *ms).await?;
            both(run(&Twist::default()))
        }
        Kind::Hold { ms } => {
            hold(app, &hit, *ms).await?;
            both(run(&Twist::default()))
        }
        Kind::DelayAnswer { ms } => {
            let answer = run(&Twist::default());
            pause(app, *ms).await?;
            both(answer)
        }
        Kind::Status { status, body, json, execute } => {
            let sent = Answer::raw(*status, body.clone(), *json);
            (execute.as_ref().map(run), Some(sent))
        }
        Kind::Garbage { execute } => {
            let sent = Answer::raw(200, GARBAGE.to_owned(), false);
            (execute.as_ref().map(run), Some(sent))
        }
        Kind::Refuse { refusal } => (None, Some(Answer::from(refusal.clone()))),
    })
}

async fn hold(app: &App, hit: &Hit, ms: Option<Millis>) -> Result<(), Stopped> {
    let _held = hit.hold();
    let mut released = hit.released.clone();
    // An error says that the rule is gone, which is a release too.
    let released = async { drop(released.wait_for(|released| *released).await) };
    match ms {
        None => unless_stopped(app, released).await,
        Some(ms) => tokio::select! {
            waited = pause(app, ms) => waited,
            () = released => Ok(()),
        },
    }
}

async fn pause(app: &App, ms: Millis) -> Result<(), Stopped> {
    let time = Duration::from_millis(ms.unsigned_abs());
    unless_stopped(app, tokio::time::sleep(time)).await
}

async fn unless_stopped(app: &App, wait: impl Future<Output = ()>) -> Result<(), Stopped> {
    tokio::select! {
        () = wait => Ok(()),
        () = app.stopped() => Err(Stopped),
    }
}
