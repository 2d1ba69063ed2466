//! Delta debugging (Zeller and Hildebrandt, 2002), its half that takes pieces away.

/// The items that are left when no piece that was tried can be taken away any more; `fails` is asked about
/// what would stay, and remembers what it agreed to. Pieces are halved until they are single items.
pub fn ddmin<T: Clone>(items: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = items;
    let mut size = kept.len();
    while size > 0 {
        let mut end = kept.len();
        // From the back: what lies close to a failure is rarely what can go, what lies after it always.
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut fewer = kept.clone();
            fewer.drain(start..end);
            if fails(&fewer) {
                kept = fewer;
            }
            end = start;
        }
        size = if size == 1 { 0 } else { size.min(kept.len()).div_ceil(2) };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_it_takes() {
        let needed = [3, 4, 77];
        let mut asked = 0;
        let left = ddmin((0..100).collect(), |items: &[i32]| {
            asked += 1;
            needed.iter().all(|item| items.contains(item))
        });
        assert_eq!(left, needed);
        assert!(asked < 60, "{asked} questions for three of a hundred");
    }

    #[test]
    fn nothing_is_left_where_nothing_is_needed() {
        let mut asked = 0;
        let left = ddmin(vec!['a'; 1000], |_| {
            asked += 1;
            true
        });
        assert_eq!((left.len(), asked), (0, 1));
    }
}
