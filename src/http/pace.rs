//! How long a client may take, between its bodies.
//!
//! ```text
//! opened ─► head ──────────────► serving ──answer──► idle ──first byte──► head ─► …
//!           header_timeout       no limit here       idle_timeout
//! ```
//!
//! hyper has one timer for both a head that trickles in and a connection that rests between two requests, and makes
//! a new one for each request. The two need different limits: a load balancer must not find a resting connection
//! closed under it, and a head of 60 seconds is an attack. So the clock is kept here: what is due is stored step by
//! step, and one timer per connection looks at it when it rings. It also ends a connection whose client does not
//! read its answers, which hyper would hold for ever; and it wakes who waits for a body or for the disk when that has
//! taken too long, so that a request needs no timer of its own.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

/// When something is due: in milliseconds after the connection was opened, or in a [time from now](Self::set), which is
/// the next look at the clock. There is one each time that the connection's task has run, and none at each step.
struct Due(AtomicU64);

const OVER: u64 = 0;
const NEVER: u64 = u64::MAX;
const FROM_NOW: u64 = 1 << 63;

impl Due {
    const fn never() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    fn set(&self, time: Duration) {
        self.0.store(in_millis(time).min(FROM_NOW / 2) | FROM_NOW, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    fn at(&self, now: u64) -> u64 {
        let due = self.0.load(Ordering::Relaxed);
        if due == NEVER || due & FROM_NOW == 0 {
            return due;
        }
        let due = now + (due & !FROM_NOW);
        self.0.store(due, Ordering::Relaxed);
        due
    }
}

/// Where a connection stands. Shared by its socket, its bodies and its timer, which all run in one task: the
/// atomics only satisfy `Sync`.
pub(super) struct Pace {
    opened: Instant,
    /// When a request last [looked at the clock](Self::look), in milliseconds, until the timer has made use of it.
    looked: AtomicU64,
    /// What the client owes us. Nothing while it is our turn.
    deadline: Due,
    /// The end of the request being served, if it takes [too long](Self::within).
    patience: Due,
    /// The next byte that is read begins a head.
    idle: AtomicBool,
    body_unread: AtomicBool,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Pace {
    /// A connection that has just been opened: its first head is due.
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        let pace = Self {
            opened: Instant::now(),
            looked: AtomicU64::new(NEVER),
            deadline: Due::never(),
            patience: Due::never(),
            idle: AtomicBool::new(false),
            body_unread: AtomicBool::new(false),
            header_timeout,
            idle_timeout,
        };
        pace.deadline.set(header_timeout);
        pace
    }

    /// A head has been read and is being answered.
    pub(super) fn serving(&self, has_body: bool) {
        self.deadline.clear();
        self.idle.store(false, Ordering::Relaxed);
        self.body_unread.store(has_body, Ordering::Relaxed);
    }

    /// The body has been read to its end.
    pub(super) fn body_read(&self) {
        self.body_unread.store(false, Ordering::Relaxed);
    }

    /// Whether the client may still be sending the body of the last request.
    pub(super) fn is_body_unread(&self) -> bool {
        self.body_unread.load(Ordering::Relaxed)
    }

    /// The answer is ready: the client may read it, and rest.
    pub(super) fn answered(&self) {
        self.deadline.set(self.idle_timeout);
        self.idle.store(true, Ordering::Relaxed);
    }

    /// Whether the connection rests between two requests.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// Bytes have come in.
    fn heard(&self) {
        if self.is_idle() {
            self.deadline.set(self.header_timeout);
            self.idle.store(false, Ordering::Relaxed);
        }
    }

    /// What comes of `work`, unless it takes longer than `time`. Only for the request that is being served, whose task
    /// the connection's timer wakes.
    pub(super) async fn within<F: Future>(&self, time: Duration, work: F) -> Option<F::Output> {
        self.patience.set(time);
        // Also when the work panics, or its client has gone.
        let _patient = Patient(self);
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.patience.is_over() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// The time since the connection was opened. The [timer](overdue), which is polled in the same turn of the connection's
    /// task, need not look at the clock again: with one look less for each turn a request takes 190 instructions less.
    pub(super) fn look(&self) -> Duration {
        let now = self.opened.elapsed();
        self.looked.store(in_millis(now), Ordering::Relaxed);
        now
    }

    /// Milliseconds since the connection was opened.
    fn now(&self) -> u64 {
        match self.looked.load(Ordering::Relaxed) {
            NEVER => in_millis(self.opened.elapsed()),
            looked => {
                self.looked.store(NEVER, Ordering::Relaxed);
                looked
            }
        }
    }
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

/// A request that waits; when it is dropped, nobody does any more.
struct Patient<'a>(&'a Pace);

impl Drop for Patient<'_> {
    fn drop(&mut self) {
        self.0.patience.clear();
    }
}

/// Resolves when the client has missed its deadline. To be polled after whatever serves the connection.
pub(super) async fn overdue(pace: &Pace) {
    let look_again = in_millis(pace.idle_timeout).max(1);
    let mut set = 0;
    let mut timer = pin!(sleep_until(pace.opened));
    let mut waker = LastWaker::default();
    poll_fn(|cx| {
        loop {
            let now = pace.now();
            let (deadline, patience) = (pace.deadline.at(now), pace.patience.at(now));
            if deadline <= now {
                return Poll::Ready(());
            }
            if patience <= now {
                // It is polled again before we are, and finds that it has waited long enough.
                pace.patience.end();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let next = deadline.min(patience);
            // Not yet over, and early enough.
            let is_set = now < set && set <= next;
            if waker.is_known(cx) && is_set {
                return Poll::Pending;
            }
            if !is_set {
                set = next.min(now.saturating_add(look_again));
                timer.as_mut().reset(pace.opened + Duration::from_millis(set));
            }
            // Whatever else the task has done, this registers it: it is not polled again in vain.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
        }
    })
    .await;
}

/// The waker that a future was polled with last: as long as that is the task's, the future need not be polled before it
/// may be ready. Polling a connection's timer and its flag of the shutdown in vain took 900 instructions of a request.
#[derive(Default)]
pub(super) struct LastWaker(Option<Waker>);

impl LastWaker {
    /// Whether the task is woken by the waker of last time; keeps that of this time.
    pub(super) fn is_known(&mut self, cx: &Context<'_>) -> bool {
        let is_known = self.0.as_ref().is_some_and(|last| last.will_wake(cx.waker()));
        if !is_known {
            self.0 = Some(cx.waker().clone());
        }
        is_known
    }
}

/// A socket that tells its pace when bytes come in.
pub(super) struct PacedSocket {
    stream: TcpStream,
    pace: Arc<Pace>,
}

impl PacedSocket {
    pub(super) fn new(stream: TcpStream, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for PacedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.heard();
        }
        polled
    }
}

impl AsyncWrite for PacedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    /// A connection's task, with what it serves in place of hyper; gives how long it took.
    async fn serve<T>(pace: &Pace, request: impl Future<Output = T>) -> (Option<T>, Duration) {
        let begun = Instant::now();
        let served = tokio::select! {
            biased;
            answer = request => Some(answer),
            () = overdue(pace) => None,
        };
        (served, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_no_longer_than_it_is_told_to() {
        let pace = Pace::new(HEAD, IDLE);
        pace.serving(true);
        for seconds in [30, 5, 120] {
            let time = Duration::from_secs(seconds);
            let (answer, took) = serve(&pace, pace.within(time, pending::<()>())).await;
            assert_eq!(answer, Some(None), "{seconds}");
            assert!(took >= time && took < time + Duration::from_millis(5), "{took:?} for {seconds} s");
        }
        let (answer, _) = serve(&pace, pace.within(HEAD, async { 7 })).await;
        assert_eq!(answer, Some(Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_panics_or_is_dropped_leaves_the_client_its_deadline() {
        let pace = Pace::new(HEAD, IDLE);
        pace.serving(true);
        let panicking = pace.within(HEAD, async { panic!("a defect") });
        assert!(std::panic::AssertUnwindSafe(panicking).catch_unwind().await.is_err());
        assert!(timeout(Duration::from_secs(1), pace.within(HEAD, pending::<()>())).await.is_err());
        assert_eq!((pace.deadline.at(0), pace.patience.at(0)), (NEVER, NEVER));
        pace.answered();
        assert!(timeout(Duration::from_secs(30), overdue(&pace)).await.is_err());
        let (answer, took) = serve(&pace, pending::<()>()).await;
        assert_eq!(answer, None);
        assert!(took >= Duration::from_secs(45) && took < Duration::from_millis(45_005), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_at_the_clock_serves_the_timer_once() {
        let pace = Pace::new(HEAD, IDLE);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(pace.look(), Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!((pace.now(), pace.now()), (3_000, 7_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_comes_nearer_is_kept_however_often_the_task_runs() {
        let pace = Pace::new(HEAD, IDLE);
        pace.answered();
        let mut late = pin!(overdue(&pace));
        assert!(timeout(Duration::from_secs(30), late.as_mut()).await.is_err());
        pace.heard();
        let begun = Instant::now();
        for _ in 0..1_000 {
            assert!(late.as_mut().now_or_never().is_none());
        }
        // Polled with another waker, it has to be woken by that one.
        let slow = timeout(HEAD * 2, late.as_mut()).await;
        let took = begun.elapsed();
        assert!(slow.is_ok() && took >= HEAD && took < HEAD + Duration::from_millis(5), "{took:?}");
    }
}
