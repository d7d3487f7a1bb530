//! What Lua plugins add to the Admin API (their `api.lua`), and what they see of the node there.

use std::{rc::Rc, sync::Arc};

use anyhow::Result;
use silverback_lua::Host;
use silverback_model::{
    Entity, Record,
    counters::{Count, Tally},
    entities::{Route, Service},
};
use silverback_pdk::{Additions, Counted, Found, Node, SecretRef, Statistics, View};
use silverback_proxy::{Directory, Stats};

/// What the plugins of a host add, who look things up in `desk`.
///
/// # Errors
/// If an `api.lua` has a fault.
pub(super) fn of(host: Option<&Host>, desk: Desk) -> Result<Option<Box<dyn Additions>>> {
    let Some(host) = host else { return Ok(None) };
    Ok(Some(Box::new(host.api(Rc::new(desk))?)))
}

/// What handlers of the Admin API can look up: all that is kept, beside any request.
pub(super) struct Desk {
    pub(super) node: Node,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) stats: Stats,
}

impl View for Desk {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, _: u32) -> Option<&Entity<Route>> {
        None
    }

    fn service(&self, _: u32) -> Option<&Entity<Service>> {
        None
    }

    fn instance(&self, _: u32) -> Option<&Arc<Record>> {
        None
    }

    fn find(&self, kind: &str, field: &str, value: &str) -> Found {
        self.directory.find(kind, field, value)
    }

    fn children(&self, kind: &str, parent: &str, parent_id: &str) -> Found<Vec<Arc<Record>>> {
        self.directory.children(kind, parent, parent_id)
    }

    fn all(&self, kind: &str) -> Vec<Arc<Record>> {
        self.directory.all(kind)
    }

    fn count(&self, tally: Tally, count: Count) -> Option<Counted> {
        self.directory.count(tally, count)
    }

    fn workspace_id(&self) -> Option<&str> {
        self.directory.workspace_id()
    }

    fn statistics(&self) -> Statistics {
        self.stats.totals()
    }

    fn secret(&self, reference: &SecretRef) -> Result<String, String> {
        self.directory.secret(reference)
    }

    fn renewed_secret(&self, reference: &SecretRef) -> Result<String, String> {
        self.directory.renewed_secret(reference)
    }

    fn flush_secrets(&self) {
        self.directory.flush_secrets();
    }
}
