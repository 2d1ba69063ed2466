//! The clocks of one machine: a monotonic one that may run fast or slow, and a wall clock that may jump.
//!
//! World time is a count of microseconds since the run began. A node never sees it: it sees its own
//! machine's monotonic clock, which counts suspend and never falls.

use quorate_core::time::Instant;

/// Microseconds since the run began.
pub type Micros = u64;

/// 2026-01-01 in microseconds since 1970: where every wall clock starts.
pub const WALL_ORIGIN_US: u64 = 1_767_225_600_000_000;

/// One part per million, the unit of drift.
const MILLION: i128 = 1_000_000;

/// The clocks of one machine.
#[derive(Debug, Clone)]
pub struct Clock {
    anchor_world: Micros,
    anchor_local: u64,
    drift_ppm: i64,
    wall_offset_us: i64,
    frozen_at: Option<u64>,
    slept: Micros,
}

impl Clock {
    /// A true clock whose monotonic side reads `origin` when the run begins.
    pub fn new(origin: u64) -> Clock {
        Clock {
            anchor_world: 0,
            anchor_local: origin,
            drift_ppm: 0,
            wall_offset_us: 0,
            frozen_at: None,
            slept: 0,
        }
    }

    /// What the monotonic clock reads at `world`.
    pub fn local(&self, world: Micros) -> Instant {
        let elapsed = world.saturating_sub(self.anchor_world);
        if self.drift_ppm == 0 {
            return Instant::from_micros(self.anchor_local.saturating_add(elapsed));
        }
        let elapsed = i128::from(elapsed);
        let local = elapsed * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        let local = u64::try_from(local).expect("a rate above -100 % never runs backwards");
        Instant::from_micros(self.anchor_local.saturating_add(local))
    }

    /// The first world time at which the monotonic clock reads `local` or later.
    pub fn world(&self, local: Instant) -> Micros {
        let wanted = local.as_micros().saturating_sub(self.anchor_local);
        if self.drift_ppm == 0 {
            return self.anchor_world.saturating_add(wanted);
        }
        let wanted = i128::from(wanted);
        let rate = MILLION + i128::from(self.drift_ppm);
        let elapsed = (wanted * MILLION + rate - 1) / rate;
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.anchor_world.saturating_add(elapsed)
    }

    /// From `world` on the monotonic clock runs `ppm` parts per million fast (or slow).
    pub fn drift(&mut self, world: Micros, ppm: i64) {
        self.anchor_local = self.local(world).as_micros();
        self.anchor_world = world;
        self.drift_ppm = ppm.clamp(-900_000, 900_000);
    }

    /// At `world` the monotonic clock has counted `more` than the world: a machine that sleeps may sleep longer
    /// than anybody else notices.
    pub fn leap(&mut self, world: Micros, more: Micros) {
        self.anchor_local = self.local(world).as_micros().saturating_add(more);
        self.anchor_world = world;
        self.slept = self.slept.saturating_add(more);
    }

    /// How much it has counted while nobody else noticed that time passed.
    pub fn slept(&self) -> Micros {
        self.slept
    }

    /// Moves the wall clock.
    pub fn step(&mut self, micros: i64) {
        self.wall_offset_us = self.wall_offset_us.saturating_add(micros);
    }

    /// Stops the wall clock at `world`, or lets it go on.
    pub fn freeze(&mut self, world: Micros, frozen: bool) {
        self.frozen_at = frozen.then(|| self.wall(world));
    }

    /// Microseconds since 1970 on the wall clock at `world`.
    pub fn wall(&self, world: Micros) -> u64 {
        let running =
            WALL_ORIGIN_US.saturating_add(world).saturating_add_signed(self.wall_offset_us);
        self.frozen_at.unwrap_or(running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_time_of_a_reading_is_the_first_at_which_it_is_read() {
        let mut clock = Clock::new(7_000_000);
        for ppm in [-10_000, 0, 1, 10_000, 100_000] {
            clock.drift(5_000_000, ppm);
            for local in [12_000_001, 13_500_000, 99_999_999] {
                let local = Instant::from_micros(local);
                let world = clock.world(local);
                assert!(clock.local(world) >= local, "{ppm} ppm: {local} at {world}");
                assert!(clock.local(world - 1) < local, "{ppm} ppm: {local} before {world}");
            }
        }
    }

    #[test]
    fn a_change_of_rate_moves_no_reading() {
        let mut clock = Clock::new(0);
        clock.drift(1_000_000, 10_000);
        let before = clock.local(3_000_000);
        clock.drift(3_000_000, -10_000);
        assert_eq!(clock.local(3_000_000), before);
    }

    #[test]
    fn a_frozen_wall_stands_and_a_step_moves_it() {
        let mut clock = Clock::new(0);
        clock.freeze(10, true);
        assert_eq!(clock.wall(5000), clock.wall(10));
        clock.freeze(6000, false);
        clock.step(-1000);
        assert_eq!(clock.wall(6000), WALL_ORIGIN_US + 5000);
    }
}
