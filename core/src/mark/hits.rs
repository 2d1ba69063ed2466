//! How often each mark was reached on this thread.

use std::cell::Cell;

use super::names::MARKS;

thread_local! {
    static REACHED: [Cell<u64>; MARKS.len()] = const { [const { Cell::new(0) }; MARKS.len()] };
}

/// The mark at `place` was reached once more.
pub fn reached(place: usize) {
    REACHED.with(|reached| {
        if let Some(count) = reached.get(place) {
            count.set(count.get() + 1);
        }
    });
}

/// How often each mark was reached, in the order of [`MARKS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hits(Vec<u64>);

impl Default for Hits {
    fn default() -> Hits {
        Hits(vec![0; MARKS.len()])
    }
}

impl Hits {
    /// What this thread reached since it was last asked.
    pub fn take() -> Hits {
        REACHED.with(|reached| Hits(reached.iter().map(|count| count.take()).collect()))
    }

    /// What this thread reached since it was last asked, without forgetting it.
    pub fn so_far() -> Hits {
        REACHED.with(|reached| Hits(reached.iter().map(Cell::get).collect()))
    }

    /// As often as `count` says of each name.
    pub fn from_fn(count: impl Fn(&'static str) -> u64) -> Hits {
        Hits(MARKS.iter().copied().map(count).collect())
    }

    /// How often the mark of that name was reached; `None`: there is no such mark.
    pub fn of(&self, name: &str) -> Option<u64> {
        self.all().find(|(mark, _)| *mark == name).map(|(_, count)| count)
    }

    /// Every mark with its hits, those at 0 included.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        MARKS.iter().copied().zip(self.0.iter().copied())
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Hits) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_belong_to_the_thread_that_made_them() {
        Hits::take();
        crate::sometimes!("link.duplicate");
        crate::sometimes!("link.duplicate", 1 + 1 == 3);
        let other = std::thread::scope(|scope| scope.spawn(Hits::take).join());
        assert_eq!(other.expect("it only looks").of("link.duplicate"), Some(0));
        assert_eq!(Hits::take().of("link.duplicate"), Some(1));
        assert_eq!(Hits::take().of("link.duplicate"), Some(0), "taken once");
        assert_eq!(Hits::take().of("no.such"), None);
    }
}
