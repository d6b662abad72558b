//! Queues of response chunks, between the threads that gather and the connections that send.
//!
//! A *gathering* is one run of the source for one exposition. All requests for this exposition that arrive before it
//! begins share its chunks; each client receives them at its own speed. A client that reads nothing therefore causes no
//! gathering of its own.
//!
//! The source may hold a lock while it is gathered, so one slow client must not delay the others. A gathering
//! proceeds at the speed of its fastest client until the waiting time that all gatherings share is used up
//! ([`WaitBudget`](state::WaitBudget)). Then it queues the chunks, up to a limit for all responses together. At the
//! limit it waits for room if no other client waits for the source or for the rest of this response; otherwise the
//! slow response with the most queued bytes is aborted.
//!
//! One lock protects all queues. It is held only briefly, as chunks are large.
//!
//! | file | content |
//! |---|---|
//! | `state` | the gatherings and the deliveries to their clients |
//! | `shared` | the lock |
//! | `receiver` | the side of the connections |
//! | `sender` | the side of the gathering threads |

mod receiver;
mod sender;
mod shared;
mod state;
#[cfg(test)]
mod tests;

pub(super) use receiver::{Receiver, Start};
pub(super) use sender::{Running, Sender};
pub(super) use shared::Queues;
pub(super) use state::{Failure, Head, MAX_QUEUED_LEN};
