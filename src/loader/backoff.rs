//! How long to wait before the next attempt: twice as long each time, with jitter, so that collectors that lost
//! ClickHouse together do not come back together.

use std::time::Duration;

use uuid::Uuid;

#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// The next pause: between half and all of what is due.
    pub(crate) fn pause(&mut self) -> Duration {
        let due = self.next.min(self.longest);
        self.next = due * 2;
        // A v4 id's last byte is random.
        let random = f64::from(Uuid::new_v4().as_bytes()[15]) / 255.0;
        due.mul_f64(0.5 + random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_fall_below_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for due in [100, 200, 400, 800, 1_000, 1_000] {
            let pause = backoff.pause().as_millis();
            assert!((due / 2..=due).contains(&pause), "{pause} ms where {due} ms are due");
        }
    }
}
