//! The vaults of a node: made of its settings, and read again beside the traffic.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use silverback_model::{
    entities::{FileVault, schema},
    schema::{FieldType, Schema},
    set::Kinds,
};
use silverback_pdk::{LogLevel, log};
use silverback_vaults::{Config, Event, Kind, Vaults, check_below};

use crate::conf::{Conf, environment};

/// How often it is looked whether the time of a secret is over; their times are whole seconds.
const TICK: Duration = Duration::from_secs(1);

/// The vaults of a node; `before` is the generation before, whose knowledge goes on.
///
/// # Errors
/// What is wrong with the settings.
pub(crate) fn open(conf: &Conf, before: Option<&Vaults>) -> Result<Arc<Vaults>> {
    let config = conf.vaults_config(environment().into_iter().collect());
    let config = config.map_err(|(_, text)| anyhow!(text))?;
    Ok(Arc::new(match before {
        Some(before) => before.with(config),
        None => Vaults::new(config),
    }))
}

/// The kinds of entities with the vaults that these settings enable.
pub(crate) fn kinds(kinds: Kinds, conf: &Conf) -> Kinds {
    let Ok(config) = conf.vaults_config(std::collections::HashMap::new()) else { return kinds };
    let Some(vaults) = schema("vaults") else { return kinds };
    let mut vaults = Schema::clone(&vaults);
    vaults.subschemas.retain(|name, _| config.kinds.iter().any(|kind| kind.name() == name));
    if config.has(Kind::File) {
        vaults.add_subschema(Kind::File.name(), file(&config));
    }
    kinds.with(vaults)
}

/// The schema of vaults of files, which knows where they may be.
fn file(config: &Config) -> Schema {
    let mut field = FileVault::field();
    let root = config.root.clone();
    if let Some(config) = field.as_record_mut()
        && let Some(directory) = config.fields.shift_remove("directory")
    {
        let directory = directory.custom(move |given| check_below(&root, given).map(drop));
        config.fields.shift_insert(0, "directory".to_owned(), directory);
    }
    Schema::plugin(Kind::File.name(), field)
}

/// Reads secrets again whose time is over. `changed` is called when one has become another.
pub(crate) async fn rotate(vaults: Arc<Vaults>, changed: impl Fn()) {
    loop {
        tokio::time::sleep(TICK).await;
        if vaults.is_due(Instant::now()) {
            // File systems can be slow.
            let reading = Arc::clone(&vaults);
            let read = tokio::task::spawn_blocking(move || reading.rotate(Instant::now()));
            read.await.unwrap_or_default().iter().for_each(say);
        }
        if vaults.take_changed() {
            changed();
        }
    }
}

fn say(event: &Event) {
    let (level, text) = match event {
        Event::Rotated { reference } => (LogLevel::Notice, format!("{reference} is a new one")),
        Event::Stale { reference, fault } => {
            (LogLevel::Warn, format!("{reference} serves on as it was: {fault}"))
        }
        Event::Lost { reference, fault } => {
            (LogLevel::Err, format!("{reference} is lost: {fault}"))
        }
    };
    log(level, "", &format!("vaults: {text}"));
}
