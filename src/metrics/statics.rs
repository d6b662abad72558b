//! Statics: bound to their series at the first use, or by [`register_statics`].

use super::Metric;
use super::core::{Child, ChildRef, FamilySpec, slow_path};
use crate::error::Result;
use crate::registry::{default_registry, registration_failed};
use crate::store::fork::StaticRef;

/// The child of a static without labels.
#[inline]
pub(super) fn child<'a, M: Metric>(
    slot: &StaticRef<Child<M>>,
    spec: impl FnOnce() -> FamilySpec<'a, M>,
) -> ChildRef<M> {
    match slot.get() {
        Some(child) => child,
        None => first_use(slot, &spec()),
    }
}

#[cold]
fn first_use<M: Metric>(slot: &StaticRef<Child<M>>, spec: &FamilySpec<'_, M>) -> ChildRef<M> {
    let Ok(lock) = slow_path() else {
        return M::ignored();
    };
    if let Some(child) = slot.get() {
        return child;
    }
    let family = spec.register_static(default_registry(), &lock).unwrap_or_else(|error| {
        registration_failed(spec.name, &error);
        spec.detached()
    });
    let child = family.child_locked(&[], &lock);
    slot.set(child);
    child
}

/// Registers a static without labels and exports its zero.
pub(super) fn register<M: Metric>(
    slot: &StaticRef<Child<M>>,
    spec: &FamilySpec<'_, M>,
) -> Result<()> {
    default_registry().prepare();
    let lock = slow_path()?;
    let child = match slot.get() {
        Some(child) => {
            child.store().check()?;
            child
        }
        None => {
            let family = spec.register(default_registry(), &lock)?;
            let child = family.child_locked(&[], &lock);
            slot.set(child);
            child
        }
    };
    M::declare(child, &lock);
    Ok(())
}

/// A static that can be registered before its first use.
pub trait Declare: Sync {
    /// Registers with the default registry; a static without labels exports its zero from now on.
    ///
    /// In a forked child it does so again for the child.
    ///
    /// # Errors
    ///
    /// Those of registration: see [`MetricBuilder::register`](super::MetricBuilder::register).
    fn try_register(&self) -> Result<()>;
}

/// Registers statics, so that their errors are seen now and their zeros are exported now.
///
/// ```
/// use multiprom::Counter;
///
/// static SEEN: Counter = Counter::new("seen_total", "Things seen.");
///
/// multiprom::register_statics(&[&SEEN])?;
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// # Errors
///
/// The first error; the statics after it are left as they are.
pub fn register_statics(statics: &[&dyn Declare]) -> Result<()> {
    statics.iter().try_for_each(|each| each.try_register())
}

/// Implements [`Declare`] for a type with the fields and the `spec` of a static.
macro_rules! impl_declare {
    ($type:ty) => {
        impl statics::Declare for $type {
            fn try_register(&self) -> crate::error::Result<()> {
                statics::register(&self.child, &self.spec())
            }
        }
    };
}

pub(super) use impl_declare;
