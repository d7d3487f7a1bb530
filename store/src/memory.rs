//! Entities in memory (`database = off`): replaced as a whole, never one by one.

use std::sync::Arc;

use silverback_model::declarative::EMPTY_HASH;
use silverback_model::errors::Fault;
use silverback_model::set::{Entities, Kinds};

use crate::feed::Feed;

/// The feed of a store without entities.
pub(crate) fn feed(kinds: Arc<Kinds>) -> Feed {
    Feed::new(Arc::new(Entities::empty(kinds)), EMPTY_HASH.to_owned())
}

/// What a single entity cannot have done to it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// To be made.
    Create,
    /// To be made, or changed if it is there.
    Upsert,
    /// To be changed.
    Update,
    /// To be deleted.
    Delete,
}

/// The answer to a write of a single entity, by its id or by the unique field named
/// (kong/db/strategies/off/init.lua).
pub fn refuse(write: Write, kind: &str, by: Option<&str>) -> Fault {
    let verb = match write {
        Write::Create => "create",
        Write::Upsert => "create or update",
        Write::Update => "update",
        Write::Delete => "remove",
    };
    let by = by.map(|field| format!(" by '{field}'")).unwrap_or_default();
    Fault::operation_unsupported(format!(
        "cannot {verb} '{kind}' entities{by} when not using a database"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use silverback_model::declarative::{self, Format};

    #[tokio::test(flavor = "current_thread")]
    async fn changes_are_told() {
        let kinds = Arc::new(Kinds::bundled([]));
        let store = Store::memory(Arc::clone(&kinds));
        let mut changes = store.changes();
        assert_eq!((store.hash().as_str(), store.entities().len()), (EMPTY_HASH, 0));
        let file = "{_format_version: '3.0', consumers: [{username: a}]}";
        let loaded = declarative::load(file, Format::Any, &kinds).expect("valid");
        store.replace(Arc::clone(&loaded.entities), "one");
        store.replace(loaded.entities, loaded.hash.clone());
        let state = changes.next().await.expect("a state");
        assert_eq!((state.version, &state.hash), (2, &loaded.hash));
        assert_eq!(state.entities.of("consumers").len(), 1);
        assert_eq!(store.entities().of("consumers").len(), 1);
        drop(store);
        assert!(changes.next().await.is_none());
    }

    fn check(write: Write, by: Option<&str>, expect: &str) {
        let fault = refuse(write, "services", by);
        assert_eq!((fault.message.as_str(), fault.status()), (expect, 405));
    }

    #[test]
    fn writes_are_refused() {
        check(Write::Create, None, "cannot create 'services' entities when not using a database");
        check(
            Write::Upsert,
            Some("name"),
            "cannot create or update 'services' entities by 'name' when not using a database",
        );
        check(
            Write::Delete,
            Some("name"),
            "cannot remove 'services' entities by 'name' when not using a database",
        );
    }
}
