//! How often new series make the writer check its directory.

/// The most checks within one timer tick. Series that a program creates one by one are fewer, so each of them is checked.
const MAX_PER_TICK: u32 = 16;

/// Limits the checks of a directory to a number in each timer tick, so that a burst of new series does not pay for one
/// each.
#[derive(Default)]
pub(super) struct CheckPace {
    tick: u64,
    made: u32,
}

impl CheckPace {
    /// Whether a check is due in this tick. Counts it if so.
    pub(super) fn is_due(&mut self, tick: u64) -> bool {
        // OK because without a clock (0) every series is checked.
        if tick != self.tick || tick == 0 {
            *self = CheckPace { tick, made: 0 };
        }
        let is_due = self.made < MAX_PER_TICK;
        self.made += u32::from(is_due);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_checked_a_few_times_in_each_tick() {
        let mut pace = CheckPace::default();
        for tick in [5, 6, 9] {
            let due = (0..1_000).filter(|_| pace.is_due(tick)).count();
            assert_eq!(due, MAX_PER_TICK as usize, "{tick}");
        }
        assert!((0..1_000).all(|_| pace.is_due(0)), "every series without a clock");
    }
}
