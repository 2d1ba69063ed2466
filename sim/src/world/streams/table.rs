//! Connections by number. Numbers rise from 1 and none is given twice, so each names its place.

use super::Stream;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Option<Box<Stream>>>);

impl Table {
    /// Adds a connection, and tells its number.
    pub(super) fn add(&mut self, stream: Stream) -> u64 {
        self.0.push(Some(Box::new(stream)));
        self.0.len() as u64
    }

    pub(super) fn get(&self, id: u64) -> Option<&Stream> {
        self.0.get(place(id)?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Stream> {
        self.0.get_mut(place(id)?)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Box<Stream>> {
        self.0.get_mut(place(id)?)?.take()
    }

    /// Every connection there is, by number.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Stream)> {
        let places = self.0.iter().enumerate();
        places.filter_map(|(place, stream)| Some((place as u64 + 1, stream.as_deref()?)))
    }
}

fn place(id: u64) -> Option<usize> {
    usize::try_from(id.checked_sub(1)?).ok()
}
