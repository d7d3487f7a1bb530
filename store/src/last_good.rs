//! The last good configuration on disk: what a node held in memory, to start with while its
//! database can't be reached.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use silverback_model::set::{Entities, Kinds};

/// The first line; another version of the format has another.
const HEAD: &str = "silverback last good configuration 1";

/// Writes all entities into a file that only its owner can read: a line each. Whoever reads it
/// meanwhile sees the one before.
///
/// # Errors
/// If the disk does not take it; the file is as before then.
pub fn write(file: &Path, entities: &Entities) -> io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = BufWriter::new(options.open(&draft)?);
    writeln!(out, "{HEAD}")?;
    for (kind, records) in entities.iter() {
        for record in records.iter() {
            writeln!(out, "{}", json!([kind.schema.name, **record]))?;
        }
    }
    out.into_inner()?.sync_data()?;
    fs::rename(draft, file)
}

/// Reads them again. None if there is no such file, or it is damaged: then there is nothing good.
pub fn read(file: &Path, kinds: &Arc<Kinds>) -> Option<Entities> {
    let mut lines = BufReader::new(fs::File::open(file).ok()?).lines();
    if lines.next()?.ok()? != HEAD {
        return None;
    }
    let mut entities = Entities::empty(Arc::clone(kinds));
    for line in lines {
        let (kind, record): (String, Value) = serde_json::from_str(&line.ok()?).ok()?;
        let Value::Object(record) = record else { return None };
        entities.put(&kind, Arc::new(record));
    }
    Some(entities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use silverback_model::declarative::{self, Format};

    #[test]
    fn what_was_written_is_read() {
        let kinds = Arc::new(Kinds::bundled([]));
        let text =
            "{_format_version: '3.0', services: [{name: a, host: h, routes: [{paths: [/]}]}]}";
        let entities = declarative::load(text, Format::Any, &kinds).expect("valid").entities;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("good");
        assert!(read(&file, &kinds).is_none());
        write(&file, &entities).expect("written");
        let again = read(&file, &kinds).expect("entities");
        assert_eq!(again.len(), entities.len());
        let service = entities.of("services").by("name", "a");
        assert_eq!(again.of("services").by("name", "a"), service);
        fs::write(&file, format!("{HEAD}\n[\"services\", {{")).expect("written");
        assert!(read(&file, &kinds).is_none());
    }
}
