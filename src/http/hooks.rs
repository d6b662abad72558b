//! Functions that an exporter calls at its start and stop.

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};

use super::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::panics::caught;

type StartHook = Box<dyn FnOnce(&[Endpoint]) -> Result<()> + Send>;
type StopHook = Box<dyn FnOnce(&[Endpoint]) + Send>;

/// The functions of an exporter that has not started yet.
#[derive(Default)]
pub(super) struct Hooks {
    start: Vec<StartHook>,
    stop: Vec<StopHook>,
}

impl Hooks {
    pub(super) fn add_start<E: Into<Box<dyn StdError + Send + Sync>>>(
        &mut self,
        hook: impl FnOnce(&[Endpoint]) -> Result<(), E> + Send + 'static,
    ) {
        self.start.push(Box::new(|endpoints| {
            hook(endpoints).map_err(|error| match error.into().downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::new(ErrorKind::Io, error),
            })
        }));
    }

    pub(super) fn add_stop(&mut self, hook: impl FnOnce(&[Endpoint]) + Send + 'static) {
        self.stop.push(Box::new(hook));
    }

    /// Calls the functions for the start; returns those for the stop.
    pub(super) fn start(self, endpoints: &[Endpoint]) -> Result<StopHooks> {
        self.start.into_iter().try_for_each(|hook| hook(endpoints))?;
        Ok(StopHooks(Mutex::new(self.stop)))
    }
}

/// The functions that are called at the stop. The mutex makes the exporter `Sync`; it is never locked.
#[derive(Default)]
pub(super) struct StopHooks(Mutex<Vec<StopHook>>);

impl StopHooks {
    /// Calls each function once. Panics are caught: this may run in a drop during unwinding, where another panic would abort the
    /// process.
    pub(super) fn stop(&mut self, endpoints: &[Endpoint]) {
        let hooks = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for hook in hooks.drain(..) {
            // OK because the panic was printed by its hook.
            let _ = caught(|| hook(endpoints));
        }
    }
}
