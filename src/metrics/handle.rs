//! How a metric type converts to and from its series.

use super::core::{FamilyCore, Ignored, Typed};
use super::settings::Settings;
use crate::registry::Descriptor;
use crate::store::Store;
use crate::store::fork::StaticRef;

/// The handle that lookups and registrations return to a signal handler or an allocator that interrupted the slow path.
/// Its series is not exported, and recordings into it are ignored as long as the slow path is interrupted.
///
/// It is created before the slow path is entered for the first time, because an interrupted allocator cannot be used.
pub(super) fn ignored_handle<M: Typed>(slot: &StaticRef<Ignored<M>>) -> &'static Ignored<M> {
    slot.get().unwrap_or_else(|| {
        let options = M::options(&Settings::default());
        let descriptor = Descriptor::detached("ignored", M::TYPE);
        let family = FamilyCore::leak(descriptor, options, Store::Heap, None);
        let handle = M::from_child(family.leak_child());
        slot.set_once(Box::leak(Box::new(Ignored { handle, family })))
    })
}

/// Defines how a type converts to and from its series, and its ignored handle.
macro_rules! impl_handle {
    ($type:ident) => {
        fn from_child(child: ChildRef<$type>) -> $type {
            $type(child)
        }

        fn child(self) -> ChildRef<$type> {
            self.0
        }

        fn ignored_series() -> &'static Ignored<$type> {
            static IGNORED: StaticRef<Ignored<$type>> = StaticRef::empty();
            ignored_handle(&IGNORED)
        }
    };
}

pub(super) use impl_handle;
