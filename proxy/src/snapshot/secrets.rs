//! Secrets in the place of references to vaults, while a snapshot is compiled. A request never
//! resolves any: where a secret has become another, the snapshot is compiled again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use silverback_model::{
    Entity, Record,
    entities::Certificate,
    schema::{
        HasSchema, Schema,
        references::{dotted, may_refer},
    },
};
use silverback_pdk::{LogLevel, SecretRef, log};
use uuid::Uuid;

use super::Directory;
use crate::tls;

/// What a snapshot knows of secrets.
#[derive(Default, Clone)]
pub(crate) struct Secrets {
    /// What could not be resolved: it is said once, until it can be.
    faults: BTreeSet<String>,
    /// The certificates that refer to secrets, with these in their places.
    certificates: HashMap<Uuid, Arc<Entity<Certificate>>>,
}

/// Puts secrets in their places.
pub(super) struct Resolver<'a> {
    directory: &'a dyn Directory,
    before: Option<&'a Secrets>,
    now: Secrets,
}

/// An entity with secrets in their places.
pub(super) struct Resolved {
    pub(super) record: Arc<Record>,
    /// Which references they took the place of.
    secrets: Vec<(String, String)>,
}

impl Resolved {
    /// A text without the secrets, for errors that plugins make of what they were given.
    pub(super) fn redacted(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|(secret, _)| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, (secret, name)| text.replace(secret.as_str(), name))
    }
}

impl<'a> Resolver<'a> {
    /// One that adds to what is known `now`; what was known `before` is not said again.
    pub(super) fn with(
        directory: &'a dyn Directory,
        before: Option<&'a Secrets>,
        now: Secrets,
    ) -> Resolver<'a> {
        Resolver { directory, before, now }
    }

    /// Forgets a certificate.
    pub(super) fn forget(&mut self, certificate: Uuid) {
        self.now.certificates.remove(&certificate);
    }

    /// An entity with secrets in the place of its references; none if it has none. What can't be
    /// resolved is an empty text, as in Kong.
    pub(super) fn resolve(
        &mut self,
        what: impl Fn() -> String,
        record: &Record,
        schema: &Schema,
    ) -> Option<Resolved> {
        if !may_refer(record) {
            return None;
        }
        let (mut resolved, mut secrets) = (record.clone(), Vec::new());
        schema.replace_references(&mut resolved, &mut |path, reference| {
            let parsed = SecretRef::parse(reference);
            let secret = parsed.and_then(|parsed| self.directory.secret(&parsed));
            let secret = secret.unwrap_or_else(|fault| {
                self.say(format!("{}: {}: {reference}: {fault}", what(), dotted(path)));
                String::new()
            });
            secrets.push((secret.clone(), reference.to_owned()));
            Some(secret)
        });
        (!secrets.is_empty()).then(|| Resolved { record: Arc::new(resolved), secrets })
    }

    /// Says what is wrong with a secret, unless it was said already.
    pub(super) fn say(&mut self, fault: String) {
        if !self.before.is_some_and(|before| before.faults.contains(&fault)) {
            log(LogLevel::Warn, "", &fault);
        }
        self.now.faults.insert(fault);
    }

    /// Certificates with their secrets. One whose secrets are no certificate with its key stays as
    /// it was, as while its files are being replaced; if it was nothing, it is left out.
    pub(super) fn certificates(&mut self, certificates: &mut Vec<Arc<Entity<Certificate>>>) {
        if !certificates.iter().any(|entity| may_refer(entity.record())) {
            return;
        }
        let schema = Certificate::schema();
        certificates.retain_mut(|entity| {
            let what = || format!("certificate {}", entity.id);
            let resolved = self.resolve(what, entity.record(), &schema);
            let Some(resolved) = resolved else { return true };
            let new = Entity::<Certificate>::new(Arc::clone(&resolved.record));
            let new = new.map_err(|fault| fault.to_string()).and_then(|new| {
                tls::read_entity(&new)?;
                Ok(Arc::new(new))
            });
            let new = new.or_else(|fault| {
                self.say(format!("{}: its secrets can't be used: {fault}", what()));
                let known = self.before.and_then(|before| before.certificates.get(&entity.id));
                known.cloned().ok_or(())
            });
            let Ok(new) = new else { return false };
            self.now.certificates.insert(entity.id, Arc::clone(&new));
            *entity = new;
            true
        });
    }

    pub(super) fn finish(self) -> Secrets {
        self.now
    }
}

impl Secrets {
    /// Without what could not be resolved, to find that out again.
    pub(super) fn to_renew(&self) -> Secrets {
        Secrets { faults: BTreeSet::new(), certificates: self.certificates.clone() }
    }

    /// The certificate of this id, if it refers to secrets and has been anything.
    pub(crate) fn certificate(&self, id: Uuid) -> Option<&Entity<Certificate>> {
        self.certificates.get(&id).map(|known| &**known)
    }
}

#[cfg(test)]
mod tests {
    use silverback_model::schema::{Field, Flag};

    use super::*;
    use crate::snapshot::NoDirectory;

    #[test]
    fn what_is_said_is_said_once_and_without_secrets() {
        let secret = Field::string().with(Flag::Referenceable, true);
        let schema = Schema::named("test").with_field("password", secret);
        let record = serde_json::json!({ "password": "{vault://none/x}", "other": "text" });
        let record = record.as_object().cloned().unwrap_or_default();
        let faults = |before: Option<&Secrets>, record: &Record| {
            let mut resolver = Resolver::with(&NoDirectory, before, Secrets::default());
            let resolved = resolver.resolve(|| "plugin 1".to_owned(), record, &schema);
            let value = resolved.and_then(|resolved| resolved.record.get("password").cloned());
            (resolver.finish(), value)
        };
        let (first, value) = faults(None, &record);
        assert_eq!(value, Some("".into()));
        let expect = "plugin 1: password: {vault://none/x}: could not find vault (none)";
        assert_eq!(first.faults.iter().collect::<Vec<_>>(), [expect]);
        // What was said before is known still.
        assert_eq!(faults(Some(&first), &record).0.faults, first.faults);
        assert_eq!(faults(None, &Record::new()).1, None);

        let secrets = ["s3cret", ""].map(|s| (s.to_owned(), "{vault://env/x}".to_owned()));
        let resolved = Resolved { record: Arc::new(record), secrets: secrets.into() };
        let text = resolved.redacted("url: s3cret: no host in s3cret");
        assert_eq!(text, "url: {vault://env/x}: no host in {vault://env/x}");
    }
}
