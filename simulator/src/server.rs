//! The two listeners.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::api::ApiRequest;
use crate::app::App;
use crate::auth::Keys;
use crate::{admin, pipeline};

/// Bytes of a request body that are read at most.
const MAX_BODY: usize = 64 * 1024;
/// How long to let an accept error pass, such as running out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a request to the admin API may go on after the exchange was told to stop.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// How to start the exchange.
#[derive(Clone)]
pub struct Config {
    /// Address of the public API; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Address of the admin API; port 0 picks a free one. It asks for no credentials, so it belongs on
    /// the loopback.
    pub admin_listen: SocketAddr,
    /// The journal. It is created when missing and replayed when not, so that a killed exchange goes on
    /// where it was. Fault rules and the request log are not in it.
    pub state: PathBuf,
    /// The one account's API key.
    pub api_key: String,
    /// The one account's secret, which signs requests.
    pub api_secret: String,
}

/// The paper exchange.
pub struct Simulator;

impl Simulator {
    /// Replays the journal, binds both listeners and serves them until [`Running::stop`] or drop.
    ///
    /// # Errors
    /// When the journal cannot be opened or read, or an address cannot be bound.
    pub async fn start(config: Config) -> Result<Running> {
        let (stop, stopping) = watch::channel(false);
        let keys = Keys { api_key: config.api_key, secret: config.api_secret };
        let app = Arc::new(App::open(&config.state, keys, stopping)?);
        let api = bind(config.listen).await?;
        let admin = bind(config.admin_listen).await?;
        Ok(Running {
            api_addr: api.local_addr()?,
            admin_addr: admin.local_addr()?,
            stop,
            tasks: vec![
                tokio::spawn(serve_api(api, Arc::clone(&app))),
                tokio::spawn(serve_admin(admin, Arc::clone(&app))),
            ],
            app,
        })
    }
}

/// A started exchange. Dropping it stops it without waiting.
pub struct Running {
    api_addr: SocketAddr,
    admin_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    app: Arc<App>,
}

impl Running {
    /// Where the public API listens.
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where the admin API listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Base URL of the public API, without a slash at the end.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api_addr)
    }

    /// Base URL of the admin API, without a slash at the end.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_addr)
    }

    /// Closes the listeners and all connections. Requests being held are given up, not executed. When
    /// this returns, the journal is not written any more.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a listener ended badly");
            }
        }
        let mut busy = self.app.busy.subscribe();
        // The sender lives in the app, which is still here, so this cannot fail.
        drop(busy.wait_for(|requests| *requests == 0).await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn serve_admin(listener: TcpListener, app: Arc<App>) {
    let served = axum::serve(listener, admin::router(Arc::clone(&app))).with_graceful_shutdown(app.stopped());
    let deadline = async {
        app.stopped().await;
        tokio::time::sleep(ADMIN_GRACE).await;
    };
    tokio::select! {
        ended = served => if let Err(error) = ended {
            tracing::error!(%error, "the admin listener ended");
        },
        () = deadline => {}
    }
}

/// Served with hyper itself: only there can a connection be closed without a byte of an answer.
async fn serve_api(listener: TcpListener, app: Arc<App>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = app.stopped() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&app)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

async fn serve_connection(stream: TcpStream, app: Arc<App>) {
    // Answers are small and waited for; without this each could be held back by the kernel.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(Arc::clone(&app), request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The reason hyper is given for closing a connection without an answer.
#[derive(Debug)]
struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("closed without an answer")
    }
}

impl std::error::Error for NoAnswer {}

async fn answer(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, NoAnswer> {
    let used = app.charge(request.method().as_str(), request.uri().path());
    let path = request.uri().path().to_owned();
    let request = read(request).await.ok_or(NoAnswer)?;
    let busy = Busy::enter(&app);
    let task = tokio::spawn(async move {
        let answer = pipeline::process(Arc::clone(&busy.0), request).await;
        drop(busy);
        answer
    });
    let answer = task.await.ok().flatten().ok_or(NoAnswer)?;
    Ok(answer.into_http(&path, used))
}

/// Reads a request to its end; `None` when the client broke it off or sent far too much.
async fn read(request: Request<Incoming>) -> Option<ApiRequest> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.ok()?;
    let api_key = head.headers.get("x-mbx-apikey");
    Some(ApiRequest {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        api_key: api_key.and_then(|key| key.to_str().ok()).map(str::to_owned),
    })
}

/// Counts a request as being worked on for as long as it lives.
struct Busy(Arc<App>);

impl Busy {
    fn enter(app: &Arc<App>) -> Self {
        app.busy.send_modify(|requests| *requests += 1);
        Self(Arc::clone(app))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|requests| *requests -= 1);
    }
}
