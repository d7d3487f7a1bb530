use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc as blocking,
    },
    thread,
};

use futures_util::FutureExt;
use serde_json::{Value, json};
use silverback_model::schema::FieldType;

use super::*;

/// Keeps what it is given, unless it is told to fail or to take its time.
struct Memory {
    batches: Mutex<blocking::Sender<Vec<String>>>,
    fails: Arc<AtomicBool>,
    tries: Arc<AtomicU64>,
    delay: Duration,
}

impl Sink for Memory {
    fn send<'a>(&'a self, batch: &'a [Bytes]) -> LocalBoxFuture<'a, Result<(), String>> {
        async move {
            self.tries.fetch_add(1, SeqCst);
            tokio::time::sleep(self.delay).await;
            if self.fails.load(SeqCst) {
                return Err("told to fail".to_owned());
            }
            let texts = batch.iter().map(|entry| String::from_utf8_lossy(entry).into_owned());
            let _ = self.batches.lock().unwrap().send(texts.collect());
            Ok(())
        }
        .boxed_local()
    }
}

struct Case {
    queue: Queue,
    batches: blocking::Receiver<Vec<String>>,
    fails: Arc<AtomicBool>,
    tries: Arc<AtomicU64>,
}

fn case(settings: &Value, delay: u64) -> Case {
    let _ = QueueSettings::field();
    let (sender, batches) = blocking::channel();
    let (fails, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sink = Memory {
        batches: Mutex::new(sender),
        fails: Arc::clone(&fails),
        tries: Arc::clone(&tries),
        delay: Duration::from_millis(delay),
    };
    let settings = serde_json::from_value(settings.clone()).unwrap();
    Case { queue: Queue::new("test".to_owned(), settings, sink), batches, fails, tries }
}

impl Case {
    fn push(&self, entries: &[&str]) {
        entries.iter().for_each(|e| self.queue.push(Bytes::copy_from_slice(e.as_bytes())));
    }

    fn next(&self) -> String {
        let batch = self.batches.recv_timeout(Duration::from_secs(5));
        batch.map_or_else(|error| error.to_string(), |batch| batch.join(" "))
    }
}

#[test]
fn entries_go_in_batches() {
    let one = case(&json!({}), 0);
    one.push(&["a", "b"]);
    assert_eq!([one.next(), one.next()], ["a", "b"]);
    let many = case(&json!({"max_batch_size": 2, "max_coalescing_delay": 0.2}), 0);
    many.push(&["a", "b", "c"]);
    assert_eq!([many.next(), many.next()], ["a b", "c"]);
    let all = case(&json!({"concurrency_limit": -1}), 100);
    let began = Instant::now();
    all.push(&["a"; 20]);
    (0..20).for_each(|_| drop(all.next()));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn the_oldest_are_dropped_where_too_many_wait() {
    let check = |settings: Value, expect: &[&str]| {
        let full = case(&settings, 300);
        full.push(&["first"]);
        // The first is on its way: it no longer waits.
        thread::sleep(Duration::from_millis(100));
        for entry in ["22", "333", "4444", "55555"] {
            full.push(&[entry]);
            thread::sleep(Duration::from_millis(10));
        }
        let sent: Vec<String> = (0..expect.len()).map(|_| full.next()).collect();
        assert_eq!(sent, expect, "{settings}");
    };
    let base = json!({"max_coalescing_delay": 0});
    let with = |name: &str, value: u64| {
        let mut settings = base.clone();
        settings[name] = value.into();
        settings
    };
    check(with("max_entries", 2), &["first", "4444", "55555"]);
    check(with("max_bytes", 9), &["first", "4444", "55555"]);
    check(with("max_bytes", 5), &["first", "55555"]);
}

#[test]
fn batches_are_tried_again() {
    let case = case(&json!({"initial_retry_delay": 0.05, "max_retry_delay": 0.1}), 0);
    case.fails.store(true, SeqCst);
    case.push(&["a"]);
    thread::sleep(Duration::from_millis(400));
    let tries = case.tries.load(SeqCst);
    assert!((3..=7).contains(&tries), "{tries}");
    case.fails.store(false, SeqCst);
    assert_eq!(case.next(), "a");
}

#[test]
fn batches_are_given_up_in_the_end() {
    let case = case(&json!({"max_retry_time": 0.1, "max_retry_delay": 0.05}), 0);
    case.fails.store(true, SeqCst);
    case.push(&["a"]);
    thread::sleep(Duration::from_millis(600));
    case.fails.store(false, SeqCst);
    case.push(&["b"]);
    assert_eq!(case.next(), "b");
}

/// A queue that is dropped sends what it has.
#[test]
fn nothing_is_lost_with_its_configuration() {
    let Case { queue, batches, .. } = case(&json!({"max_coalescing_delay": 5}), 50);
    for entry in ["a", "b", "c"] {
        queue.push(entry.into());
    }
    drop(queue);
    let sent: Vec<_> = batches.iter().flatten().collect();
    assert_eq!(sent, ["a", "b", "c"]);
}
