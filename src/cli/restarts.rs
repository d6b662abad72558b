//! When `run` starts its command again.

use std::time::Duration;

use clap::ValueEnum;

use crate::model::number::parse_digits;

/// After which ends the command is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RestartPolicy {
    /// After none
    Never,
    /// After an exit status other than 0, or a signal
    OnFailure,
    /// After any end
    Always,
}

/// The most restarts in succession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaxRestarts(pub(super) Option<u32>);

/// The longest delay between an end and the next start.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// A command that has run for this long counts as stable: the next restart is the first one again.
const STABLE_TIME: Duration = Duration::from_secs(60);

/// What follows the end of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterEnd {
    /// The policy asks for no restart.
    End,
    /// The limit is reached.
    GiveUp,
    Restart {
        delay: Duration,
        /// 1 for the first restart in succession.
        number: u32,
    },
}

/// Counts restarts in succession, each of which is delayed for twice as long as the one before.
#[derive(Clone, Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    max: MaxRestarts,
    first_delay: Duration,
    number: u32,
}

impl Restarts {
    pub(super) fn new(policy: RestartPolicy, first_delay: Duration, max: MaxRestarts) -> Restarts {
        Restarts { policy, max, first_delay, number: 0 }
    }

    /// Whether the policy asks for a restart after an end with this status.
    fn are_due_after(&self, status: u8) -> bool {
        match self.policy {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => status != 0,
            RestartPolicy::Always => true,
        }
    }

    /// Decides about the next start of a command that has run for `time`.
    pub(super) fn after(&mut self, status: u8, time: Duration) -> AfterEnd {
        if !self.are_due_after(status) {
            return AfterEnd::End;
        }
        if time >= STABLE_TIME {
            self.number = 0;
        }
        if self.max.0.is_some_and(|max| self.number >= max) {
            return AfterEnd::GiveUp;
        }
        let factor = 1_u32.checked_shl(self.number).unwrap_or(u32::MAX);
        self.number = self.number.saturating_add(1);
        let delay = self.first_delay.saturating_mul(factor).min(MAX_DELAY.max(self.first_delay));
        AfterEnd::Restart { delay, number: self.number }
    }
}

/// Parses a number, or `unlimited`.
pub(super) fn parse_max_restarts(text: &str) -> Result<MaxRestarts, String> {
    if text == "unlimited" {
        return Ok(MaxRestarts(None));
    }
    let number = parse_digits(text).ok_or("expected a number, or `unlimited`")?;
    Ok(MaxRestarts(Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_policy_and_the_status_decide_about_a_restart() {
        for (policy, after_success, after_failure) in [
            (RestartPolicy::Never, false, false),
            (RestartPolicy::OnFailure, false, true),
            (RestartPolicy::Always, true, true),
        ] {
            for (status, expected) in [(0, after_success), (1, after_failure), (137, after_failure)]
            {
                let mut restarts = Restarts::new(policy, SECOND, MaxRestarts(None));
                let is_restarted =
                    matches!(restarts.after(status, SECOND), AfterEnd::Restart { .. });
                assert_eq!(is_restarted, expected, "{policy:?} after {status}");
                assert_eq!(restarts.are_due_after(status), expected);
            }
        }
    }

    #[test]
    fn the_number_of_restarts_has_digits_only() {
        assert!(matches!(parse_max_restarts("5"), Ok(MaxRestarts(Some(5)))));
        assert!(matches!(parse_max_restarts("unlimited"), Ok(MaxRestarts(None))));
        for text in ["+5", "-5", "", "5 "] {
            assert!(parse_max_restarts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn delays_double_up_to_a_minute_and_begin_anew_after_a_stable_run() {
        let mut restarts = Restarts::new(RestartPolicy::Always, SECOND, MaxRestarts(None));
        let mut delay = |time| match restarts.after(1, time) {
            AfterEnd::Restart { delay, .. } => delay.as_secs(),
            other => panic!("{other:?}"),
        };
        let delays: Vec<u64> = (0..40).map(|_| delay(SECOND)).collect();
        assert_eq!(delays[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(delays[39], 60);
        assert_eq!((delay(STABLE_TIME), delay(SECOND)), (1, 2));
    }

    #[test]
    fn the_limit_counts_restarts_in_succession() {
        let mut restarts = Restarts::new(RestartPolicy::OnFailure, SECOND, MaxRestarts(Some(2)));
        for number in [1, 2] {
            let delay = SECOND * number;
            assert_eq!(restarts.after(1, SECOND), AfterEnd::Restart { delay, number });
        }
        assert_eq!(restarts.after(1, SECOND), AfterEnd::GiveUp);
        let first = AfterEnd::Restart { delay: SECOND, number: 1 };
        assert_eq!(restarts.after(1, STABLE_TIME), first);
        assert_eq!(parse_max_restarts("unlimited").unwrap(), MaxRestarts(None));
        assert_eq!(parse_max_restarts("0").unwrap(), MaxRestarts(Some(0)));
        assert!(parse_max_restarts("-1").is_err());
    }
}
