//! Access records: what is written about a request once it has ended, and how it gets off the request path.
//!
//! A worker hands a [`Record`] over and goes on; a writer elsewhere takes it from a bounded queue. A full queue drops
//! the record and counts it: a log that cannot keep up must never hold back a request. Nothing here formats or
//! writes.
//!
//! Bound: a queue of `capacity` records, each of at most 8 KiB (six texts of at most [`Text::LIMIT`] bytes and an
//! ellipsis, and the rest), usually a tenth of that.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use crate::stats::AccessLogStats;

/// One request that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When its head was complete.
    pub time: SystemTime,
    /// The client, as far back as proxies are trusted.
    pub client: IpAddr,
    /// The protocol it came by.
    pub protocol: http::Version,
    /// Its method.
    pub method: Text,
    /// The host it asked for.
    pub host: Option<Text>,
    /// Its path, normalised, without the query: queries carry secrets.
    pub path: Text,
    /// What was answered; `None` when the client went away before that.
    pub status: Option<http::StatusCode>,
    /// Why the gateway answered by itself or cut the answer.
    pub fault: Option<&'static str>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The upstream's name.
    pub upstream: Option<Arc<str>>,
    /// The endpoint that the last attempt went to, as it is configured.
    pub endpoint: Option<Arc<str>>,
    /// How many times it was sent to an upstream.
    pub attempts: u32,
    /// Bytes of its body, as relayed.
    pub request_bytes: u64,
    /// Bytes of the answer's body, as relayed.
    pub response_bytes: u64,
    /// From the end of its head to the last byte of its answer.
    pub duration: Duration,
    /// From the last attempt's first byte sent to its response head.
    pub upstream_duration: Option<Duration>,
    /// Its `X-Request-Id`.
    pub request_id: Option<Text>,
    /// Its trace (W3C Trace Context), 32 hexadecimal digits.
    pub trace_id: Option<Text>,
    /// Its `User-Agent`.
    pub user_agent: Option<Text>,
}

/// A bounded piece of text. It may still hold control characters: escaping is the writer's affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Cow<'static, str>);

impl Text {
    /// How many bytes are kept.
    pub const LIMIT: usize = 1024;

    /// The start of what a peer sent; an ellipsis marks that there was more. What is not UTF-8 is replaced.
    pub fn clip(bytes: &[u8]) -> Self {
        // Four bytes more than are kept, so that a character cut in two lies wholly beyond the limit.
        let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(Self::LIMIT + 4)]).into_owned();
        if text.len() > Self::LIMIT {
            text.truncate(text.floor_char_boundary(Self::LIMIT));
            text.push('…');
        }
        Self(Cow::Owned(text))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&http::Method> for Text {
    /// Allocates nothing for the methods that everybody uses.
    fn from(method: &http::Method) -> Self {
        let known = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            other => return Self::clip(other.as_bytes()),
        };
        Self(Cow::Borrowed(known))
    }
}

/// A queue for `capacity` records (at least one): the workers' end and the writer's.
pub fn queue(capacity: usize, stats: Arc<AccessLogStats>) -> (AccessLog, Records) {
    let (sender, receiver) = sync_channel(capacity.max(1));
    (AccessLog { sender, stats }, Records { receiver })
}

/// The workers' end of the queue. Each worker has its own clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    sender: SyncSender<Message>,
    stats: Arc<AccessLogStats>,
}

impl AccessLog {
    /// Hands a record over, or drops and counts it when the queue is full or has no reader. Never blocks.
    pub fn record(&self, record: Record) {
        if self.sender.try_send(Message::Record(Box::new(record))).is_err() {
            self.stats.add_dropped();
        }
    }

    /// A way to get the writer's attention.
    pub fn waker(&self) -> Waker {
        Waker(self.sender.clone())
    }
}

/// Ends the writer's wait although there is no record.
#[derive(Debug, Clone)]
pub struct Waker(SyncSender<Message>);

impl Waker {
    /// Never blocks. A full queue needs no waking.
    pub fn wake(&self) {
        let _ = self.0.try_send(Message::Wake);
    }
}

/// The writer's end of the queue.
#[derive(Debug)]
pub struct Records {
    receiver: Receiver<Message>,
}

/// Why a wait ended.
#[derive(Debug)]
pub enum Event {
    /// A record came.
    Record(Box<Record>),
    /// A [`Waker`] was used.
    Woken,
    /// The queue is empty, and no [`AccessLog`] or [`Waker`] is left that could add to it.
    Closed,
}

impl Records {
    /// Waits for something to happen.
    pub fn wait(&self) -> Event {
        match self.receiver.recv() {
            Ok(Message::Record(record)) => Event::Record(record),
            Ok(Message::Wake) => Event::Woken,
            Err(_) => Event::Closed,
        }
    }

    /// The next record, if there is one already.
    pub fn next_ready(&self) -> Option<Box<Record>> {
        self.receiver.try_iter().find_map(|message| match message {
            Message::Record(record) => Some(record),
            Message::Wake => None,
        })
    }
}

/// Records are boxed so that an empty queue costs 16 bytes a place.
#[derive(Debug)]
enum Message {
    Record(Box<Record>),
    Wake,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH,
            client: IpAddr::from([127, 0, 0, 1]),
            protocol: http::Version::HTTP_11,
            method: Text::from(&http::Method::GET),
            host: None,
            path: Text::clip(path.as_bytes()),
            status: Some(http::StatusCode::OK),
            fault: None,
            route: None,
            upstream: None,
            endpoint: None,
            attempts: 1,
            request_bytes: 0,
            response_bytes: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
            request_id: None,
            trace_id: None,
            user_agent: None,
        }
    }

    #[test]
    fn records_arrive_in_order() {
        let (log, records) = queue(4, Arc::default());
        log.record(record("/1"));
        log.waker().wake();
        log.record(record("/2"));
        assert!(matches!(records.wait(), Event::Record(first) if first.path.as_str() == "/1"));
        assert_eq!(records.next_ready().expect("the second").path.as_str(), "/2");
        assert!(records.next_ready().is_none());
        drop(log);
        assert!(matches!(records.wait(), Event::Closed));
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_goes_on() {
        let stats = Arc::<AccessLogStats>::default();
        let (log, records) = queue(2, Arc::clone(&stats));
        for _ in 0..7 {
            log.record(record("/"));
        }
        assert_eq!(stats.dropped(), 5);
        assert!(records.next_ready().is_some());
        log.record(record("/"));
        assert_eq!(stats.dropped(), 5);
        drop(records);
        log.record(record("/"));
        assert_eq!(stats.dropped(), 6);
    }

    #[test]
    fn waking_a_full_queue_does_not_block() {
        let (log, records) = queue(1, Arc::default());
        log.waker().wake();
        log.waker().wake();
        assert!(matches!(records.wait(), Event::Woken));
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(Text::clip(b"/a").as_str(), "/a");
        let exact = "a".repeat(Text::LIMIT);
        assert_eq!(Text::clip(exact.as_bytes()).as_str(), exact);
        let euros = "€".repeat(Text::LIMIT);
        let kept = Text::clip(euros.as_bytes());
        assert_eq!(kept.as_str(), format!("{}…", "€".repeat(Text::LIMIT / 3)));
    }

    #[test]
    fn text_that_is_not_utf8_stays_bounded() {
        let text = Text::clip(&[0xff; 100_000]);
        assert!(text.as_str().len() <= Text::LIMIT + '…'.len_utf8());
        assert_eq!(Text::clip(b"a\xffb").as_str(), "a\u{fffd}b");
    }

    #[test]
    fn methods_are_kept_as_they_are() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
            let parsed = http::Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(Text::from(&parsed).as_str(), method);
        }
    }
}
