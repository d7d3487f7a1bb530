//! A plugin has to run on one of the protocols of what it is for (kong/db/dao/plugins.lua).

use serde_json::Value;
use silverback_model::Record;
use silverback_model::errors::{Errors, Fault};
use silverback_model::set::Kind;

use super::{Dao, Key};
use crate::transaction::Transaction;

impl<T: Transaction> Dao<'_, T> {
    /// Checks what an input says of protocols, route and service.
    pub(super) async fn check_protocols(&mut self, input: &Record) -> Result<(), Fault> {
        let Some(Value::Array(own)) = input.get("protocols") else { return Ok(()) };
        let shares = |route: &Record| {
            let theirs = route.get("protocols").and_then(Value::as_array);
            theirs.is_some_and(|theirs| own.iter().any(|protocol| theirs.contains(protocol)))
        };
        let Some(routes) = self.kinds.get("routes") else { return Ok(()) };
        let refuse = |text| Err(Fault::schema_violation(Errors::of("protocols", text)));
        if let Some(route) = reference(input, "route") {
            let route = self.transaction.get(routes, route).await?;
            if route.is_some_and(|route| !shares(&route)) {
                return refuse("must match the associated route's protocols");
            }
        } else if let Some(service) = reference(input, "service") {
            let routes = self.transaction.children(routes, "service", service).await?;
            if !routes.is_empty() && !routes.iter().any(|route| shares(route)) {
                return refuse(
                    "must match the protocols of at least one route pointing to this Plugin's \
                     service",
                );
            }
        }
        Ok(())
    }

    /// The same for changes of a plugin.
    pub(super) async fn check_changed_protocols(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        input: &Record,
    ) -> Result<(), Fault> {
        const FIELDS: [&str; 3] = ["protocols", "route", "service"];
        if !FIELDS.iter().any(|name| input.contains_key(*name)) {
            return Ok(());
        }
        let Some(old) = self.find(kind, key).await? else { return Ok(()) };
        let value = |name: &&str| input.get(*name).or_else(|| old.get(*name)).cloned();
        let together = FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?)));
        self.check_protocols(&together.collect()).await
    }
}

fn reference<'a>(input: &'a Record, field: &str) -> Option<&'a str> {
    input.get(field)?.get("id")?.as_str()
}
