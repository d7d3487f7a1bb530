//! Certificates bring the server names that they are for: `snis`, a list of names, is kept as
//! entities of their own (kong/db/dao/certificates.lua, kong/db/dao/snis.lua).

use serde_json::{Value, json};
use silverback_model::Record;
use silverback_model::errors::{Errors, Fault};
use silverback_model::set::Kind;

use super::{Dao, Key, Options};
use crate::transaction::{Kept, Transaction};

impl<T: Transaction> Dao<'_, T> {
    pub(super) async fn insert_certificate(
        &mut self,
        kind: &Kind,
        input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        let names = names(&input)?;
        self.check_names(names.as_deref(), None).await?;
        let record = self.insert_plainly(kind, input, options).await?;
        self.set_names(&record, names).await?;
        Ok(record)
    }

    pub(super) async fn update_certificate(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        let names = names(&input)?;
        self.check_names(names.as_deref(), Some(key)).await?;
        let record = self.update_plainly(kind, key, input, options).await?;
        self.set_names(&record, names).await?;
        Ok(record)
    }

    pub(super) async fn upsert_certificate(
        &mut self,
        kind: &Kind,
        key: Key<'_>,
        input: Record,
        options: &Options,
    ) -> Result<Kept, Fault> {
        let names = names(&input)?;
        self.check_names(names.as_deref(), Some(key)).await?;
        let record = self.upsert_plainly(kind, key, input, options).await?;
        self.set_names(&record, names).await?;
        Ok(record)
    }

    /// Deletes the names that a certificate is for.
    pub(super) async fn remove_names(&mut self, certificate: &Record) -> Result<(), Fault> {
        self.set_names(certificate, Some(Vec::new())).await
    }

    /// No name may belong to another certificate already.
    async fn check_names(
        &mut self,
        names: Option<&[String]>,
        own: Option<Key<'_>>,
    ) -> Result<(), Fault> {
        let Some(snis) = self.kinds.get("snis") else { return Ok(()) };
        for name in names.unwrap_or_default() {
            let Some(sni) = self.transaction.by(snis, "name", name).await? else { continue };
            let of = sni.get("certificate").and_then(|c| c.get("id")?.as_str());
            let of = of.unwrap_or_default();
            if !matches!(own, Some(Key::Id(id)) if id.eq_ignore_ascii_case(of)) {
                let text = format!("{name} already associated with existing certificate '{of}'");
                return Err(Fault::schema_violation(Errors::of("snis", text)));
            }
        }
        Ok(())
    }

    /// Makes these the names of a certificate; without a list, they stay as they are.
    async fn set_names(
        &mut self,
        certificate: &Record,
        names: Option<Vec<String>>,
    ) -> Result<(), Fault> {
        let (Some(names), Some(snis)) = (names, self.kinds.get("snis")) else { return Ok(()) };
        let id = certificate.get("id").and_then(Value::as_str).unwrap_or_default();
        let name_of = |sni: &Kept| sni.get("name").and_then(Value::as_str).map(str::to_owned);
        let existing = self.transaction.children(snis, "certificate", id).await?;
        for sni in existing.iter().filter(|sni| !name_of(sni).is_some_and(|n| names.contains(&n))) {
            self.delete_with_children(snis, sni.clone()).await?;
        }
        for name in &names {
            if existing.iter().any(|sni| name_of(sni).as_ref() == Some(name)) {
                continue;
            }
            let sni = json!({ "name": name, "certificate": { "id": id } });
            let Value::Object(sni) = sni else { continue };
            self.insert_plainly(snis, sni, &Options::default()).await?;
        }
        Ok(())
    }
}

/// The names that an input lists, sorted; none if it has no such list, or a wrong one, which is
/// for the schema to refuse.
fn names(input: &Record) -> Result<Option<Vec<String>>, Fault> {
    let list = match input.get("snis") {
        None => return Ok(None),
        Some(Value::Null) => return Ok(Some(Vec::new())),
        Some(Value::Array(list)) => list,
        Some(_) => return Ok(None),
    };
    let mut names: Vec<String> = Vec::with_capacity(list.len());
    for name in list.iter().filter_map(Value::as_str) {
        if names.iter().any(|other| other == name) {
            let text = format!("{name} is duplicated");
            return Err(Fault::schema_violation(Errors::of("snis", text)));
        }
        names.push(name.to_owned());
    }
    names.sort();
    Ok(Some(names))
}
