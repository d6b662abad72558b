//! A model of the removal of one series: its burial in the archive, and its drop from it.
//!
//! The protocol:
//!
//! - A process removes the series by a removal record in its own file, and exports it again by a change of the record.
//!   The value of the entry stays.
//! - A scrape exports the sum of all values, removed or not, unless the series is hidden: the archive has a burial record, or
//!   a file or the archive has a removal record and no living process exports the series.
//! - A compactor that absorbs a file in which the series is removed adds the value and a mark, which is a removal record in
//!   the archive.
//! - While the archive has a mark, a pass checks all files that it does not absorb, listed after the proofs of death. If
//!   none has an entry of the series, removed or not, and all could be read, the next archive has a burial record. If it
//!   has one already, the value, the mark and the burial record are dropped. If a file has an entry, or cannot be read,
//!   the burial record is removed and the mark stays.
//!
//! The checked properties (`Broken` in `state.rs`):
//!
//! - A scrape that exports the series has at least the increments that were recorded before it began and are not dropped, no
//!   others than were recorded until its end, and at least those of earlier scrapes, unless the series was hidden in
//!   between. After it was hidden, a total that lacks increments of an earlier one has none of them: a client that takes
//!   a lower total for a restart from zero counts no increment again.
//! - When the last process that exported a removed series has gone and none records it again, no scrape exports it. What is
//!   recorded while the check that leads to a drop is running counts as recorded after the drop.
//! - A series that a living process exports is exported by each scrape that began afterwards, and after two more passes at the
//!   latest if it was buried. A series that was not removed is always exported.
//! - In every state, the archive and the files that it does not list have each increment once that is not dropped.
//! - When all processes have ended, further passes leave no file, and nothing of a removed series. The total of one that is
//!   not removed is exact.
//!
//! The reason for the two commits: a scrape that has exported the old total has done so before the burial was committed,
//! as it would have started over otherwise. Of the files that are listed after that commit, none has an entry, so at this
//! moment no living process exports the series, and it is hidden. Later scrapes find it buried, until the old total is
//! dropped. Entries in state removed prevent the drop as well, because their values are in earlier totals and would be
//! exported again without the share of the archive.

mod compactor;
mod correct;
mod mistakes;
mod reader;
mod state;
mod worker;
