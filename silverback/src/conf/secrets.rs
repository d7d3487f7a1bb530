//! What kong.conf says about vaults, and the secrets that it refers to itself.
//!
//! Before a node runs there are no vaults with a prefix of their own: `{vault://env/…}` and
//! `{vault://file/…}` are asked, as far as `vaults` enables them.

use std::collections::HashMap;

use silverback_model::SecretRef;
use silverback_vaults::{Config, Vaults};

use super::{Conf, environment, value};

/// What vaults are told, by a setting's text; with the setting that is wrong, and what is.
type Read = Result<Config, (String, String)>;

impl Conf {
    /// What the vaults of a node are told.
    ///
    /// # Errors
    /// What is wrong with `vaults` or a `vault_*`; loading has found it before.
    pub(crate) fn vaults_config(&self, environment: HashMap<String, String>) -> Read {
        Config::read(&self.vaults, environment, |name| self.settings.text(name).map(str::to_owned))
    }

    /// How to read a setting again that refers to a secret; none if it does not.
    pub(crate) fn reread(
        &self,
        name: &str,
    ) -> Option<impl Fn() -> Option<String> + Send + Sync + use<>> {
        let reference = self.settings.reference(name)?.to_owned();
        let config = self.vaults_config(environment().into_iter().collect()).ok()?;
        // Vaults that remember nothing.
        Some(move || resolve(&Vaults::new(config.clone()), &reference).ok())
    }
}

/// What the vaults that kong.conf itself may refer to are told, by the texts as they were given.
pub(super) fn config<'a>(
    environment: &HashMap<String, String>,
    given: impl Fn(&str) -> Option<&'a str>,
) -> Read {
    let enabled = given("vaults").map_or(vec!["bundled".to_owned()], value::list);
    let setting = |name: &str| given(name).map(|text| text.trim().to_owned());
    Config::read(&enabled, environment.clone(), setting)
}

/// The secret that `reference` stands for.
///
/// # Errors
/// Why there is none; the text never holds a secret.
pub(super) fn resolve(vaults: &Vaults, reference: &str) -> Result<String, String> {
    let secret = vaults.get(&SecretRef::parse(reference)?, None)?;
    Ok(secret.to_string())
}
