use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Url;
use secrecy::SecretString;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::MissedTickBehavior,
};

use super::{
    signature::WebhookSecret,
    sink::{CloudEvent, Sink},
};
use crate::{
    books::{Books, BooksError, Endpoint, Leased, Patience},
    failpoint,
};

/// How many events a round of the relay reads for each endpoint.
const RELAY_LIMIT: i32 = 2_000;
/// How many streams of one endpoint this process serves at once.
const STREAMS_AT_ONCE: usize = 8;
/// How many events of a stream are read at once, and how often before another stream gets its place.
const EVENTS_AT_ONCE: i32 = 64;
const BATCHES_MAX: usize = 4;
/// A lease outlasts a send by far; one that was lost holds its stream up for so long.
const LEASE_OF_ANSWERS: u32 = 3;
/// How long to wait after the books did not answer.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// How long a connection is kept for the next event.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// How events are published.
#[derive(Clone, Debug)]
pub struct PublisherSettings {
    /// How often it is looked for new events.
    pub every: Duration,
    /// How long an endpoint's answer is waited for.
    pub answer_timeout: Duration,
    /// What happens when events are not taken.
    pub patience: Patience,
    /// What the events name as their source.
    pub source: String,
    /// The secret that an endpoint's deliveries are signed with, by the endpoint's name.
    pub secret_of: fn(&str) -> Option<SecretString>,
}

/// Takes events to their endpoints until it is told to stop. It never fails: what goes wrong is logged, and tried again.
#[derive(Debug)]
pub struct Publisher {
    books: Books,
    settings: PublisherSettings,
    http: reqwest::Client,
    /// Endpoints that this process can't serve, each of which is mentioned once.
    mentioned: Mutex<HashSet<String>>,
}

impl Publisher {
    /// Makes one.
    ///
    /// # Errors
    /// When the TLS backend can't be set up.
    pub fn new(books: Books, settings: PublisherSettings) -> Result<Self, reqwest::Error> {
        // What an endpoint has not taken itself is not delivered: no redirects. Repeats are ours, with pauses.
        let http = reqwest::Client::builder()
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.answer_timeout)
            // A receiver that closes what was idle must not look like one that has lost an event.
            .pool_idle_timeout(IDLE_MAX)
            .build()?;
        Ok(Self { books, settings, http, mentioned: Mutex::default() })
    }

    /// Publishes until `stop` turns true, and then ends what it is in the middle of.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let publisher = Arc::new(self);
        let mut senders: HashMap<String, JoinHandle<()>> = HashMap::new();
        let mut pace = tokio::time::interval(publisher.settings.every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*stop.borrow() {
            tokio::select! {
                _ = pace.tick() => {}
                _ = stop.changed() => continue,
            }
            match publisher.round(&mut senders, &stop).await {
                // More is there than one round reads: no pause.
                Ok(true) => pace.reset_immediately(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!("events are not published at present: {error}");
                    pace.reset_after(AFTER_ERROR.max(publisher.settings.every));
                }
            }
        }
        for sender in senders.into_values() {
            let _ = sender.await;
        }
    }

    /// Finds what is new, and sees to it that every endpoint has somebody who sends to it. Says whether there is more.
    async fn round(
        self: &Arc<Self>,
        senders: &mut HashMap<String, JoinHandle<()>>,
        stop: &watch::Receiver<bool>,
    ) -> Result<bool, BooksError> {
        let more = self.books.outbox_relay(RELAY_LIMIT).await?;
        senders.retain(|_, sender| !sender.is_finished());
        for endpoint in self.books.endpoints().await? {
            if senders.contains_key(&endpoint.name) {
                continue;
            }
            if let Some(sink) = self.sink(&endpoint) {
                let sending = self.clone().send_to(endpoint.clone(), sink, stop.clone());
                senders.insert(endpoint.name, tokio::spawn(sending));
            }
        }
        Ok(more)
    }

    /// Where an endpoint's events go; nowhere, if this process can't say.
    fn sink(&self, endpoint: &Endpoint) -> Option<Sink> {
        let sink = match Url::parse(&endpoint.url) {
            Err(error) => Err(format!("its URL can't be read: {error}")),
            Ok(url) if url.scheme() == "file" => url.to_file_path().map(Sink::File).map_err(|()| "no path".to_owned()),
            Ok(url) => match (self.settings.secret_of)(&endpoint.name) {
                None => Err("there is no secret for it in the environment".to_owned()),
                Some(secret) => WebhookSecret::read(&secret).map(|secret| {
                    let http = self.http.clone();
                    Sink::Webhook { http, url, secret }
                }),
            },
        };
        let known = || self.mentioned.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.name.clone());
        sink.inspect_err(|why| {
            if known() {
                tracing::error!("this worker sends nothing to endpoint {}: {why}", endpoint.name);
            }
        })
        .ok()
    }

    /// Serves an endpoint's streams, several at once, as long as there are any. Each is a task of its own: one that waits
    /// for the books must not keep another from giving its connection back.
    async fn send_to(self: Arc<Self>, endpoint: Endpoint, sink: Sink, stop: watch::Receiver<bool>) {
        let sink = Arc::new(sink);
        let mut sending = JoinSet::new();
        loop {
            let free = if *stop.borrow() { 0 } else { STREAMS_AT_ONCE.saturating_sub(sending.len()) };
            if free > 0 {
                match self.books.stream_lease(&endpoint, free, self.lease()).await {
                    Ok(leased) => {
                        for stream in leased {
                            let publisher = self.clone();
                            let (name, sink) = (endpoint.name.clone(), sink.clone());
                            sending.spawn(publisher.send_stream(name, sink, stream, stop.clone()));
                        }
                    }
                    Err(error) => tracing::warn!("no streams for endpoint {} at present: {error}", endpoint.name),
                }
            }
            // Not for long: others may have something by then.
            let next = tokio::time::timeout(self.settings.every, sending.join_next());
            if matches!(next.await, Ok(None)) {
                return;
            }
        }
    }

    async fn send_stream(
        self: Arc<Self>,
        endpoint: String,
        sink: Arc<Sink>,
        stream: Leased,
        stop: watch::Receiver<bool>,
    ) {
        if let Err(error) = self.try_stream(&endpoint, &sink, &stream, &stop).await {
            // It is free again when its lease is over. What was sent and not recorded is sent again.
            tracing::warn!("{} is not delivered to {endpoint} at present: {error}", stream.aggregate);
        }
    }

    /// Sends a stream's events in order, until there are none, one is not taken, or the stream is another's.
    async fn try_stream(
        &self,
        endpoint: &str,
        sink: &Sink,
        stream: &Leased,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), BooksError> {
        for _ in 0..BATCHES_MAX {
            let events = self.books.stream_events(endpoint, stream, EVENTS_AT_ONCE, self.lease()).await?;
            if events.is_empty() {
                return Ok(());
            }
            let events = events.iter().map(|event| CloudEvent::new(&self.settings.source, &stream.aggregate, event));
            let events: Vec<CloudEvent> = events.collect();
            for part in events.chunks(sink.at_once().min(events.len())) {
                if *stop.borrow() {
                    return self.books.stream_release(endpoint, stream).await;
                }
                if !self.send(endpoint, sink, stream, part).await? {
                    return Ok(());
                }
            }
        }
        self.books.stream_release(endpoint, stream).await
    }

    /// Sends some events, and records what became of that. Says whether the stream may go on.
    async fn send(
        &self,
        endpoint: &str,
        sink: &Sink,
        stream: &Leased,
        events: &[CloudEvent],
    ) -> Result<bool, BooksError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(true) };
        let delivered = sink.deliver(events).await;
        failpoint::pass("publish.sent").await;
        match delivered {
            Ok(()) => self.books.stream_delivered(endpoint, stream, last.place, self.lease()).await,
            Err(failed) => {
                tracing::info!("{endpoint} has not taken {} of {}: {}", first.id, stream.aggregate, failed.reason);
                let patience = self.settings.patience;
                self.books.stream_failed(endpoint, stream, first.place, &failed, patience).await?;
                Ok(false)
            }
        }
    }

    fn lease(&self) -> Duration {
        self.settings.answer_timeout * LEASE_OF_ANSWERS
    }
}
