//! The file of `--web.config.file`: TLS, users, headers, rate limit.
//!
//! | file | content |
//! |---|---|
//! | `yaml` | a strict reader of YAML |
//! | `fields` | typed access to the fields of a map |
//! | `config` | the fields of the file |
//! | `tls` | the configuration of rustls |
//! | `san` | the names in a certificate |
//! | `users` | basic authentication |
//! | `rate` | the rate limit |
//! | `stamp` | versions of files |
//! | `file` | reading the file again when it has changed |

mod config;
mod fields;
mod file;
mod rate;
mod san;
mod stamp;
mod tls;
mod users;
mod yaml;

pub(super) use file::{Loaded, WebConfigFile};
pub(super) use users::Verdict;
