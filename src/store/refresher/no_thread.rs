//! On systems without directories nothing is refreshed: no store has a group.

use std::sync::Arc;

use super::group::{Computed, RefreshGroup};
use crate::store::fork::SlowPath;

pub(crate) fn add(_: &'static RefreshGroup, _: Arc<dyn Computed>, _: &SlowPath) {}

pub(crate) fn finish(_: &'static RefreshGroup) {}

pub(crate) fn flush(_: &'static RefreshGroup) {}

pub(crate) fn refresh(_: &'static RefreshGroup) {}
