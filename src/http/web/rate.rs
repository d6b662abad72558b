//! The rate limit: a token bucket for all clients together.

use std::time::Instant;

use super::config::RateLimit;

/// A bucket that starts full.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: RateLimit,
    tokens: f64,
    /// When `tokens` was computed.
    at: Instant,
}

impl Bucket {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Bucket {
        Bucket { limit, tokens: f64::from(limit.burst), at: now }
    }

    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token; `false` if there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.at).as_secs_f64();
        let gained = time / self.limit.interval.as_secs_f64();
        self.tokens = (self.tokens + gained).min(f64::from(self.limit.burst));
        self.at = now;
        let is_left = self.tokens >= 1.0;
        if is_left {
            self.tokens -= 1.0;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gets_one_token_in_each_interval_up_to_the_burst() {
        let begin = Instant::now();
        let after = |milliseconds| begin + Duration::from_millis(milliseconds);
        let limit = RateLimit { interval: Duration::from_millis(100), burst: 2 };
        let mut bucket = Bucket::new(limit, begin);
        let taken = [0, 0, 0, 50, 101, 101, 1000, 1000, 1000].map(|at| bucket.take(after(at)));
        assert_eq!(taken, [true, true, false, false, true, false, true, true, false]);
        let mut empty = Bucket::new(RateLimit { burst: 0, ..limit }, begin);
        assert!(!empty.take(after(1_000_000)));
    }
}
