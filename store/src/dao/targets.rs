//! Targets have a port (kong/db/dao/targets.lua).

use serde_json::Value;
use silverback_model::Record;
use silverback_model::errors::{Errors, Fault};
use silverback_model::schema::values::{AddressKind, parse_address};
use silverback_model::set::Kind;

use super::{Dao, Key, unique_key};
use crate::transaction::Transaction;

impl<T: Transaction> Dao<'_, T> {
    /// Before a target is replaced, another of the same address in its upstream makes way.
    pub(super) async fn replace_target(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        input: &mut Record,
    ) -> Result<(), Fault> {
        if let Key::Unique(field, value) = key {
            unique_key(&kind.schema, field, value)?;
            input.insert(field.to_owned(), value.into());
        }
        format(input)?;
        let upstream = input.get("upstream").and_then(|upstream| upstream.get("id")?.as_str());
        let Some(upstream) = upstream else { return Ok(()) };
        let siblings = self.transaction.children(kind, "upstream", upstream).await?;
        for sibling in siblings {
            let own = matches!(key, Key::Id(id) if sibling.get("id") == Some(&Value::from(id)));
            if !own && sibling.get("target") == input.get("target") {
                self.delete_with_children(kind, sibling).await?;
            }
        }
        Ok(())
    }
}

/// The port of a target that says none.
const PORT: u16 = 8000;

/// Writes the target of an input out: with its port, an IPv6 address in full.
///
/// # Errors
/// If it is a text, and no target.
pub(super) fn format(input: &mut Record) -> Result<(), Fault> {
    let Some(Value::String(target)) = input.get("target") else { return Ok(()) };
    let address = parse_address(target).map_err(|_| {
        let text = "Invalid target; not a valid hostname or ip address";
        Fault::schema_violation(Errors::of("target", text))
    })?;
    let (host, port) = (address.host, address.port.unwrap_or(PORT));
    let whole = match address.kind {
        AddressKind::Ipv6 => format!("[{host}]:{port}"),
        AddressKind::Ipv4 | AddressKind::Name => format!("{host}:{port}"),
    };
    input.insert("target".to_owned(), whole.into());
    Ok(())
}
