//! Steps from one layout of a plugin's tables to the next, as its `migrations/` say them.

use std::fmt;
use std::sync::Arc;

use crate::Record;

/// Runs SQL: the rows, or what is wrong.
pub type Query<'a> = dyn FnMut(&str) -> Result<Vec<Record>, String> + 'a;

/// A part of a step that is no mere SQL. It blocks its thread.
pub type Work = dyn Fn(&mut Query<'_>) -> Result<(), String> + Send + Sync;

/// A step.
#[derive(Clone, Default)]
pub struct Migration {
    /// Its name: `000_base_my_plugin`.
    pub name: String,
    /// The SQL that is run first, while nodes of before and after may run.
    pub up: String,
    /// What is done after that.
    pub up_work: Option<Arc<Work>>,
    /// What is done at last, when no node of before runs any more; most steps have nothing.
    pub teardown: Option<Arc<Work>>,
}

impl Migration {
    /// A step that does nothing.
    pub fn named(name: &str) -> Migration {
        Migration { name: name.to_owned(), ..Migration::default() }
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("name", &self.name).finish_non_exhaustive()
    }
}
