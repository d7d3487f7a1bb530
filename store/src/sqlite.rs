//! Entities in one file, by SQLite (`database = sqlite`): all of them are held in memory as well,
//! where changes are checked, one after the other. What is checked is written by a thread of its
//! own, all that waits in one transaction, and published when the disk has it.

mod file;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use silverback_model::declarative::{self, EMPTY_HASH};
use silverback_model::errors::Fault;
use silverback_model::set::{Entities, Kinds};
use tokio::sync::Mutex;

use crate::change::{Batch, Change};
use crate::draft::Draft;
use crate::feed::Feed;
use crate::transaction::Kept;
use crate::{Options, Outcome};

pub use file::OpenError;
use file::{ByKind, File};
use writer::Writer;

/// A store in a file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    tip: Arc<Mutex<Tip>>,
    writer: Writer,
}

/// The entities with all changes that are checked, be they written yet or not.
type Tip = Entities;

impl Sqlite {
    pub(crate) fn open(path: &Path, kinds: &Arc<Kinds>) -> Result<(Arc<Feed>, Sqlite), OpenError> {
        let mut file = File::open(path)?;
        let mut draft = Draft::new(&known(kinds, file.read()?));
        let begun = draft.entities.of("workspaces").by("name", "default").is_some();
        if let (false, Some(kind)) = (begun, kinds.get("workspaces"))
            && let Some(workspace) = declarative::default_workspace(kinds)
        {
            draft.put(kind, Arc::new(workspace));
        }
        file.write(&[&draft.changes])?;
        let tip = draft.entities;
        let feed = Arc::new(Feed::new(Arc::new(tip.clone()), EMPTY_HASH.to_owned()));
        let tip = Arc::new(Mutex::new(tip));
        let writer = Writer::start(file, Arc::clone(&feed), Arc::clone(&tip));
        Ok((feed, Sqlite { path: path.to_owned(), tip, writer }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a change, and says by which version it is published; none if there was nothing to do.
    pub(crate) async fn write(
        &self,
        kind: &str,
        change: Change<'_>,
        options: &Options,
    ) -> Outcome<(Option<Kept>, Option<u64>)> {
        let mut tip = self.tip.lock().await;
        let mut draft = Draft::new(&tip);
        let kinds = Arc::clone(tip.kinds());
        let record = change.apply(&kinds, &mut draft, kind, options).await?;
        if draft.changes.is_empty() {
            return Ok((record, None));
        }
        // In the order of the tips, since each is made of the one before.
        let written = self.writer.send(&draft.entities, draft.changes)?;
        *tip = draft.entities;
        drop(tip);
        let version = written.await.map_err(|_| gone())??;
        Ok((record, Some(version)))
    }

    /// Changes many entities, and says by which version that is published; none if there was
    /// nothing to do.
    pub(crate) async fn change(&self, batch: Batch<'_>) -> Outcome<Option<u64>> {
        let mut tip = self.tip.lock().await;
        let mut draft = Draft::new(&tip);
        let kinds = Arc::clone(tip.kinds());
        batch.apply(&kinds, &mut draft).await?;
        if draft.changes.is_empty() {
            return Ok(None);
        }
        let written = self.writer.send(&draft.entities, draft.changes)?;
        *tip = draft.entities;
        drop(tip);
        written.await.map_err(|_| gone())?.map(Some)
    }

    /// Goes on with other kinds. What is kept of kinds that are not known any more stays in the
    /// file, and is there again when they are.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(crate) async fn renew(&self, kinds: Arc<Kinds>) -> Outcome<()> {
        let mut tip = self.tip.lock().await;
        let failed = |error: OpenError| Fault::database_error(error.to_string());
        let mut records =
            File::open_to_read(&self.path).and_then(|mut f| f.read()).map_err(failed)?;
        // What is checked may not be written yet.
        records.retain(|(kind, _)| tip.kinds().get(kind).is_none());
        let of_tip =
            tip.iter().map(|(kind, all)| (kind.schema.name.clone(), all.iter().cloned().collect()));
        records.extend(of_tip);
        let renewed = known(&kinds, records);
        let written = self.writer.send(&renewed, Vec::new())?;
        *tip = renewed;
        drop(tip);
        written.await.map_err(|_| gone())?.map(drop)
    }
}

/// What a file holds, be it in use or not.
///
/// # Errors
/// If it can't be read.
pub fn read(path: &Path, kinds: &Arc<Kinds>) -> Result<Entities, OpenError> {
    Ok(known(kinds, File::open_to_read(path)?.read()?))
}

/// What was read, as the schemas have it now, whatever version wrote it.
fn known(kinds: &Arc<Kinds>, mut records: ByKind) -> Entities {
    for (name, records) in &mut records {
        let Some(kind) = kinds.get(name) else { continue };
        for record in records {
            if let Some(completed) = kind.schema.completed(record) {
                *record = Arc::new(completed);
            }
        }
    }
    Entities::new(Arc::clone(kinds), records)
}

fn gone() -> Fault {
    Fault::database_error("the database's writer has ended")
}
