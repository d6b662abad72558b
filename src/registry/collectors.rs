//! Several collectors that are registered in one call.

use super::entry::NewCollector;
use crate::model::Collector;

/// Several collectors, for [`Registry::register_all`](super::Registry::register_all): a tuple of up to eight, an array or a
/// `Vec`.
///
/// Sealed: other crates cannot implement it.
pub trait Collectors: sealed::Collectors {}

/// The collectors as the registry adds them.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct CollectorList(pub(super) Vec<NewCollector>);

mod sealed {
    pub trait Collectors {
        fn into_list(self) -> super::CollectorList;
    }
}

impl<C: Collector + 'static, const N: usize> Collectors for [C; N] {}

impl<C: Collector + 'static, const N: usize> sealed::Collectors for [C; N] {
    fn into_list(self) -> CollectorList {
        CollectorList(self.into_iter().map(NewCollector::new).collect())
    }
}

impl<C: Collector + 'static> Collectors for Vec<C> {}

impl<C: Collector + 'static> sealed::Collectors for Vec<C> {
    fn into_list(self) -> CollectorList {
        CollectorList(self.into_iter().map(NewCollector::new).collect())
    }
}

macro_rules! impl_for_tuples {
    ($(($($type:ident $at:tt),+))+) => {$(
        impl<$($type: Collector + 'static),+> Collectors for ($($type,)+) {}

        impl<$($type: Collector + 'static),+> sealed::Collectors for ($($type,)+) {
            fn into_list(self) -> CollectorList {
                CollectorList(vec![$(NewCollector::new(self.$at)),+])
            }
        }
    )+};
}

impl_for_tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
