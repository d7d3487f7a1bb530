//! The last good configuration: what the node knows of its database, kept on the disk as well, so
//! that it can start while that can't be reached.
//!
//! `last-good.json` has all that is held in memory, `last-good-credentials.json` the consumers and
//! credentials that were looked up last. Who is not in it is not let in.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};

use silverback_model::set::Kinds;
use silverback_pdk::LogLevel;
use silverback_store::{
    Store, last_good,
    last_good::{Answers, Unusable},
    postgres::Before,
};

use crate::{conf::Conf, prefix::Prefix};

/// About how many bytes of credentials and consumers are kept on the disk.
const CREDENTIALS_MAX: usize = 32 << 20;
/// How often it is looked whether there are others now.
const CREDENTIALS_INTERVAL: Duration = Duration::from_secs(5);
/// How long they are good: one that is revoked must not come back with an old disk.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How often they are written although there are no others: they are good still.
const CREDENTIALS_RENEWAL: Duration = Duration::from_secs(3600);

/// What is known of the database at an address, and what its user should hear of that.
pub(super) fn read(
    conf: &Conf,
    prefix: &Prefix,
    address: &str,
    kinds: &Arc<Kinds>,
) -> (Option<Before>, Option<String>) {
    let file = entities_file(prefix);
    let entities = match last_good::read(&file, address, kinds) {
        Ok(Some(entities)) => entities,
        Ok(None) => return (None, None),
        Err(why) => return (None, Some(format!("{} is not used: {why}", file.display()))),
    };
    let (answers, notice) = match read_answers(conf, prefix, address) {
        Ok(answers) => (answers, None),
        Err(why) => (Answers::default(), Some(why)),
    };
    (Some(Before { entities, answers }), notice)
}

fn read_answers(conf: &Conf, prefix: &Prefix, address: &str) -> Result<Answers, String> {
    let file = answers_file(prefix);
    if !conf.settings.is_on("last_good_credentials") {
        return Ok(Answers::default());
    }
    let refuse = |why: String| format!("{} is not used: {why}", file.display());
    let age = file.metadata().and_then(|data| data.modified()).ok();
    let age = age.and_then(|time| SystemTime::now().duration_since(time).ok());
    if age.is_some_and(|age| age > CREDENTIALS_LIFE) {
        return Err(refuse("it is older than a day".to_owned()));
    }
    last_good::read_answers(&file, address).map_err(|why: Unusable| refuse(why.to_string()))
}

/// What a running generation knows of the same database.
pub(super) fn of_store(store: &Store, kinds: &Arc<Kinds>) -> Before {
    Before { entities: store.entities().renewed(kinds), answers: store.answers(usize::MAX) }
}

/// Keeps on the disk what is known; ends with the store. At first, the disk has what the store
/// begins with.
pub(super) fn keep(store: &Arc<Store>, conf: &Conf, prefix: &Prefix) {
    let Some(address) = store.address() else { return };
    tokio::task::spawn_local(keep_entities(
        store.changes(),
        entities_file(prefix),
        address.clone(),
    ));
    let file = answers_file(prefix);
    if conf.settings.is_on("last_good_credentials") {
        tokio::task::spawn_local(keep_answers(Arc::downgrade(store), file, address));
    } else {
        // What was kept before is not wanted any more.
        let _ = std::fs::remove_file(file);
    }
}

async fn keep_entities(mut changes: silverback_store::Changes, file: PathBuf, address: String) {
    let mut state = changes.newest();
    loop {
        let (file, address) = (file.clone(), address.clone());
        let entities = Arc::clone(&state.entities);
        let took = on_the_side(move || last_good::write(&file, &address, &entities)).await;
        // However much there is to write, it is seldom what this machine does.
        tokio::time::sleep((took * 20).max(Duration::from_secs(1))).await;
        let Some(next) = changes.next().await else { return };
        state = next;
    }
}

async fn keep_answers(store: Weak<Store>, file: PathBuf, address: String) {
    let (mut written, mut when) = (None, Instant::now());
    let mut wait = CREDENTIALS_INTERVAL;
    loop {
        tokio::time::sleep(wait).await;
        let Some(store) = store.upgrade() else { return };
        let known = store.answers_changed();
        // Nobody tells of changes while the database can't be reached: what the disk has is as
        // old as that.
        let due = written != Some(known) || when.elapsed() > CREDENTIALS_RENEWAL;
        if !due || store.trouble().is_some() {
            continue;
        }
        (written, when) = (Some(known), Instant::now());
        let (file, address) = (file.clone(), address.clone());
        let write =
            move || last_good::write_answers(&file, &address, &store.answers(CREDENTIALS_MAX));
        wait = (on_the_side(write).await * 20).max(CREDENTIALS_INTERVAL);
    }
}

/// Writes on another thread, and says how long that took.
async fn on_the_side(write: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Duration {
    let began = Instant::now();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
        let text = format!("can't keep the last good configuration: {error}");
        silverback_pdk::log(LogLevel::Warn, "", &text);
    }
    began.elapsed()
}

fn entities_file(prefix: &Prefix) -> PathBuf {
    prefix.path().join("last-good.json")
}

fn answers_file(prefix: &Prefix) -> PathBuf {
    prefix.path().join("last-good-credentials.json")
}
