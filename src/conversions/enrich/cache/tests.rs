use std::sync::atomic::AtomicUsize;

use tokio::sync::Notify;

use super::*;
use crate::event::Timestamp;

/// A cache at a moment that can be set, and how often its page was fetched.
struct Setup {
    pages: Pages,
    clock: Clock,
    fetched: AtomicUsize,
}

impl Setup {
    fn new() -> Self {
        let clock = Clock::manual(Timestamp::EPOCH);
        Self { pages: Pages::new(clock.clone()), clock, fetched: AtomicUsize::new(0) }
    }

    async fn get(&self, key: &str, answer: Result<(), FetchError>) -> Result<Arc<Page>, FetchError> {
        let fetch = || async {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            answer.map(|()| Page::default())
        };
        self.pages.get(key.to_owned(), fetch).await
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }

    fn turn(&self, to: Duration) {
        self.clock.set(Timestamp::from_millis(i64::try_from(to.as_millis()).expect("few")));
    }
}

#[tokio::test]
async fn a_page_is_known_for_a_day_and_a_failure_for_five_minutes() {
    let milliseconds = |period: Duration| u64::try_from(period.as_millis()).expect("few");
    for (answer, lasts) in [(Ok(()), FRESH), (Err(FetchError::Status(500)), FAILED)] {
        let (setup, lasts) = (Setup::new(), milliseconds(lasts));
        for (at, fetched) in [(0, 1), (lasts - 1, 1), (lasts, 2), (lasts * 2 - 1, 2), (lasts * 2, 3)] {
            let at = Duration::from_millis(at);
            setup.turn(at);
            let got = setup.get("a", answer).await;
            assert_eq!(got.map(|_| ()), answer);
            assert_eq!(setup.fetched(), fetched, "{answer:?} after {at:?}");
        }
    }
}

#[tokio::test]
async fn what_failed_for_want_of_a_turn_is_tried_again_at_once() {
    let setup = Setup::new();
    assert_eq!(setup.get("a", Err(FetchError::Busy)).await.map(|_| ()), Err(FetchError::Busy));
    assert!(setup.get("a", Ok(())).await.is_ok());
    assert_eq!(setup.fetched(), 2);
}

#[tokio::test]
async fn a_page_is_fetched_once_while_many_wait_and_holds_up_no_other() {
    let setup = Arc::new(Setup::new());
    let go = Arc::new(Notify::new());
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (setup, go) = (Arc::clone(&setup), Arc::clone(&go));
            tokio::spawn(async move {
                let fetch = || async {
                    setup.fetched.fetch_add(1, Ordering::Relaxed);
                    go.notified().await;
                    Ok(Page::default())
                };
                setup.pages.get("a".to_owned(), fetch).await
            })
        })
        .collect();
    while setup.fetched() == 0 {
        tokio::task::yield_now().await;
    }
    setup.get("b", Ok(())).await.expect("it holds up no other");
    assert_eq!(setup.fetched(), 2);
    assert!(waiting.iter().all(|task| !task.is_finished()));
    go.notify_one();
    for task in waiting {
        task.await.expect("no panic").expect("a page");
    }
    assert_eq!(setup.fetched(), 2, "a page was fetched more than once");
}

#[tokio::test]
async fn another_takes_over_from_who_goes_away() {
    let setup = Arc::new(Setup::new());
    let theirs = Arc::clone(&setup);
    let gone = tokio::spawn(async move {
        let fetch = || async {
            theirs.fetched.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        };
        theirs.pages.get("a".to_owned(), fetch).await
    });
    while setup.fetched() == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    setup.get("a", Ok(())).await.expect("a page");
    assert_eq!(setup.fetched(), 2);
}

#[tokio::test]
async fn no_more_pages_are_remembered_than_there_are_places() {
    let setup = Setup::new();
    let places = usize::try_from(CAPACITY).expect("few");
    for key in 0..=places + 500 {
        setup.get(&key.to_string(), Ok(())).await.expect("a page");
    }
    setup.pages.slots.run_pending_tasks();
    assert!(setup.pages.slots.entry_count() <= CAPACITY, "{} pages", setup.pages.slots.entry_count());
    let before = setup.fetched();
    setup.get(&(places + 500).to_string(), Ok(())).await.expect("a page");
    assert_eq!(setup.fetched(), before, "the latest page was forgotten");
    setup.get("0", Ok(())).await.expect("a page");
    assert_eq!(setup.fetched(), before + 1, "the oldest page was kept");
}
