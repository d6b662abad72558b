//! Registries: which families exist, and where their values live.
//!
//! A registry checks names when a family is registered. When it is gathered, it writes its families and those of its
//! collectors, each family name once. It can be used from any thread, and in a child that was forked at any moment.

mod backend;
mod builder;
mod collected;
mod core;
mod default;
mod descriptor;
mod limits;
mod policy;
mod registration_errors;
mod scope;
mod sought;

pub use crate::store::DirectoryOptions;
pub use backend::Backend;
pub use builder::RegistryBuilder;
pub use core::Registry;
pub(crate) use core::{RegisteredFamily, slow_path};
pub use default::{default_registry, set_default_backend};
pub(crate) use descriptor::Descriptor;
pub(crate) use limits::{add_own_family, log_limit_reached};
pub(crate) use policy::Lint;
pub(crate) use registration_errors::registration_failed;
pub(crate) use scope::refresh;
