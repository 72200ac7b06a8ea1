//! A server of raw bytes, for answers that no sane exchange gives, which remembers every connection and request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use reqwest::Url;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The parameters, decoded, in the order of the query string.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) query: String,
    pub(crate) api_key: String,
    /// Which connection it came on, counted from 1.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn parameter(&self, name: &str) -> &str {
        let values: Vec<&str> =
            self.parameters.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(values.len(), 1, "{name} in {}", self.query);
        values[0]
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.parameter(name).parse().unwrap()
    }
}

/// What happens to the connection after the bytes of an answer.
#[derive(Clone, Copy, Debug)]
enum Then {
    NextRequest,
    Close,
    Stall,
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

impl Reply {
    /// A whole answer, on a connection that stays open for the next request.
    pub(crate) fn http(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let lines = headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat());
        let (headers, length) = (lines.collect::<String>(), body.len());
        let text = format!("HTTP/1.1 {status} Words\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        Self { bytes: text.into_bytes(), then: Then::NextRequest }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::http(status, &[("content-type", "application/json")], &body.to_string())
    }

    /// These bytes, then the end of the connection.
    pub(crate) fn cut_off(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), then: Then::Close }
    }

    /// These bytes, then nothing more.
    pub(crate) fn stalled(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), then: Then::Stall }
    }
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<Request>,
}

pub(crate) struct Wire {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Answers every request by what `reply` says.
    pub(crate) async fn start(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(Some(Arc::new(reply))).await
    }

    /// Gives every request the same answer.
    pub(crate) async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    /// Closes every connection before it has read anything.
    pub(crate) async fn slamming() -> Self {
        Self::listen(None).await
    }

    async fn listen(reply: Option<Arc<Replies>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(accept(listener, Arc::clone(&seen), reply));
        Self { address, seen, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().requests.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// The one request there was, on the one connection there was.
    pub(crate) fn only_request(&self) -> Request {
        let requests = self.requests();
        assert_eq!((requests.len(), self.connections()), (1, 1), "{requests:?}");
        requests.into_iter().next().unwrap()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Replies = dyn Fn(&Request) -> Reply + Send + Sync;

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>, reply: Option<Arc<Replies>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = {
            let mut seen = seen.lock().unwrap();
            seen.connections += 1;
            seen.connections
        };
        if let Some(reply) = reply.clone() {
            connections.spawn(serve(stream, connection, Arc::clone(&seen), reply));
        }
    }
}

async fn serve(mut stream: TcpStream, connection: usize, seen: Arc<Mutex<Seen>>, reply: Arc<Replies>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection).await {
        let Reply { bytes, then } = reply(&request);
        seen.lock().unwrap().requests.push(request);
        // The client may have gone already: what it makes of that is its own test's to say.
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match then {
            Then::NextRequest => {}
            Then::Close => return,
            Then::Stall => std::future::pending().await,
        }
    }
}

/// Reads one request without a body; `None` at the end of the connection, or when it is no HTTP.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Request> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head: Vec<u8> = buffer.drain(..end + 4).collect();
    let head = String::from_utf8(head).ok()?;
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let url = Url::parse("http://venue").unwrap().join(target).ok()?;
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
        line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value).to_owned()
    };
    assert!(["", "0"].contains(&header("content-length").as_str()), "a body is not expected: {head}");
    Some(Request {
        method,
        path: url.path().to_owned(),
        parameters: url.query_pairs().into_owned().collect(),
        query: url.query().unwrap_or_default().to_owned(),
        api_key: header("x-mbx-apikey"),
        connection,
    })
}
