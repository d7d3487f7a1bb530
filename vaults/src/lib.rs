//! Secrets by reference: which vault a reference means, what is in it, and when to look again.
//!
//! Two kinds of vaults: `env`, Kong's own (kong/vaults/env), whose variables do not change while a
//! process runs, and `file`, a directory of secrets as container platforms mount them. Texts of
//! errors name the reference and the place, never a secret, and nothing here can be printed.

mod cells;
mod config;
mod directory;
mod source;

use std::{fmt, sync::Arc, time::Instant};

use silverback_model::{SecretRef, set::Entities};

use self::{cells::Cells, source::Source};
pub use self::{
    cells::Event,
    config::{Config, Kind},
    directory::check_below,
};

/// The vaults of a node. Every thread may ask; what was asked for is remembered for its time.
pub struct Vaults {
    config: Config,
    cells: Arc<Cells>,
}

impl Vaults {
    /// Vaults of which nothing is known yet.
    pub fn new(config: Config) -> Vaults {
        Vaults { config, cells: Arc::new(Cells::new(Instant::now())) }
    }

    /// Vaults by other settings, which know what these know.
    pub fn with(&self, config: Config) -> Vaults {
        Vaults { config, cells: Arc::clone(&self.cells) }
    }

    /// What they were told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The secret that a reference names. `entities` has the vaults with a prefix of their own.
    /// What is not remembered is read now: a small file, or a look at the environment.
    ///
    /// # Errors
    /// Kong's text: "could not find vault (NAME)", "could not get value from external vault (…)".
    pub fn get(
        &self,
        reference: &SecretRef,
        entities: Option<&Entities>,
    ) -> Result<Arc<str>, String> {
        match self.source(reference, entities)? {
            Source::Env(name) => self.variable(&name, reference),
            Source::File(place) => self.cells.get(place, reference),
        }
    }

    /// The same, read again whatever is remembered; see [`Vaults::take_changed`].
    ///
    /// # Errors
    /// As [`Vaults::get`].
    pub fn renew(
        &self,
        reference: &SecretRef,
        entities: Option<&Entities>,
    ) -> Result<Arc<str>, String> {
        match self.source(reference, entities)? {
            Source::Env(name) => self.variable(&name, reference),
            Source::File(place) => self.cells.renew(place, reference),
        }
    }

    /// Whether [`Vaults::rotate`] has anything to read.
    pub fn is_due(&self, now: Instant) -> bool {
        self.cells.is_due(now)
    }

    /// Reads again what has been remembered for its time: what there is to say about it. It may
    /// take as long as the file system does.
    pub fn rotate(&self, now: Instant) -> Vec<Event> {
        self.cells.rotate(now)
    }

    /// All that is remembered is read again by the next [`Vaults::rotate`].
    pub fn flush(&self) {
        self.cells.flush();
    }

    /// Whether a secret has become another since this was last asked.
    pub fn take_changed(&self) -> bool {
        self.cells.take_changed()
    }

    /// Begins to note what is asked for; [`Vaults::sweep`] forgets the rest.
    pub fn mark(&self) {
        self.cells.mark();
    }

    /// Forgets what has not been asked for since [`Vaults::mark`].
    pub fn sweep(&self) {
        self.cells.sweep();
    }

    fn source(&self, reference: &SecretRef, entities: Option<&Entities>) -> Result<Source, String> {
        Source::of(reference, &self.config, entities)
    }

    fn variable(&self, name: &str, reference: &SecretRef) -> Result<Arc<str>, String> {
        let value = self.config.environment.get(name).ok_or_else(|| source::no_value(None))?;
        match &reference.key {
            None => Ok(value.as_str().into()),
            Some(key) => {
                source::member(value, key).map(Into::into).map_err(|why| source::no_member(&why))
            }
        }
    }
}

impl fmt::Debug for Vaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vaults").finish_non_exhaustive()
    }
}
