//! System calls that have no safe wrapper in the standard library, each behind a safe function.

mod at;
mod call;
mod clock;
mod limits;
mod random;
mod signals;
mod sockets;
mod space;
mod stat;
mod users;

pub(crate) use at::{
    Taken, check_writable, link_at, make_dir_at, open_at, remove_dir_at, rename_at, unlink_at,
};
pub(super) use call::check;
pub(crate) use clock::tick;
#[cfg(feature = "cli")]
pub(crate) use limits::raise_descriptor_limit;
pub(crate) use limits::{clock_ticks, descriptor_limit, is_address_space_limited, page_len};
pub(crate) use random::random_u32;
pub(crate) use signals::BlockedSignals;
pub(super) use signals::TakenSignals;
#[cfg(feature = "exporter")]
pub(crate) use sockets::{bind_all_interfaces, bind_unix, passed_sockets, set_backlog};
pub(crate) use space::{fill, reserve, write_in_place};
pub(crate) use stat::{Identity, Stat, file_system, identity, is_settled, stat, stat_at};
pub(crate) use users::has_raised_privileges;
#[cfg(feature = "cli")]
pub(crate) use users::{effective_user, file_user, find_group, find_user, set_file_user};
