//! Registries: which families exist, and where their values live.
//!
//! A registry checks names when a family is registered. When it is gathered, it writes its families and those of its
//! collectors, each family name once. It can be used from any thread, and in a child that was forked at any moment.

mod backend;
mod buffer;
mod builder;
mod collected;
mod collectors;
mod core;
mod default;
mod descriptor;
mod entry;
mod gathering;
mod limits;
mod names;
mod policy;
mod registered;
mod registration;
mod registration_errors;
mod restricted;
mod scope;
mod sought;
mod unregister;

pub use crate::store::DirectoryOptions;
pub use backend::Backend;
pub use builder::RegistryBuilder;
pub use collectors::Collectors;
pub use core::Registry;
pub(crate) use core::slow_path;
pub use default::{default_registry, set_default_backend};
pub(crate) use descriptor::Descriptor;
pub(crate) use limits::{add_own_family, log_limit_reached};
pub(crate) use policy::Lint;
pub(crate) use registered::RegisteredFamily;
pub use registration::Registration;
pub(crate) use registration_errors::registration_failed;
pub use restricted::Restricted;
pub(crate) use scope::refresh;
