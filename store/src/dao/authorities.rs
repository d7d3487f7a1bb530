//! An authority that is in use stays (kong/db/dao/ca_certificates.lua).

use serde_json::Value;
use silverback_model::Record;
use silverback_model::errors::Fault;

use super::Dao;
use crate::transaction::Transaction;

impl<T: Transaction> Dao<'_, T> {
    /// Refuses if a service or a plugin names the authority.
    pub(super) async fn check_unused(&mut self, authority: &Record) -> Result<(), Fault> {
        if !self.transaction.checked_here() && authority.is_empty() {
            return Ok(());
        }
        let id = authority.get("id").cloned().unwrap_or_default();
        let names = |list: Option<&Value>| {
            list.and_then(Value::as_array).is_some_and(|list| list.contains(&id))
        };
        for name in ["services", "plugins"] {
            let Some(kind) = self.kinds.get(name) else { continue };
            for entity in self.transaction.all(kind).await? {
                let config = entity.get("config").and_then(|config| config.get("ca_certificates"));
                if names(entity.get("ca_certificates")) || names(config) {
                    let by = entity.get("id").and_then(Value::as_str).unwrap_or_default();
                    return Err(Fault::referenced_by_others(format!(
                        "ca certificate {} is still referenced by {name} (id = {by})",
                        id.as_str().unwrap_or_default()
                    )));
                }
            }
        }
        Ok(())
    }
}
