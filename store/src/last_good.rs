//! The last good configuration on disk: what a node knew of its database, to start with while that
//! can't be reached.
//!
//! Two files of JSON, a value a line, which say in their first line of which database they are:
//! one has all that is held in memory, the other the answers to look-ups that were asked for last,
//! as credentials and consumers. Both are only their owner's to read.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Lines, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use silverback_model::Record;
use silverback_model::set::{Entities, Kinds};

/// What the first line says; another version of the format says something else.
const FORMAT: &str = "silverback last good configuration 2";

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It ends before its end, was made by another version, or was changed by hand.
    #[error("it is damaged or of another version")]
    Damaged,
    /// It tells of another database.
    #[error("it is of {0}, and this node's database is {1}")]
    Elsewhere(String, String),
}

/// Answers to look-ups, of which a node can go on from another.
#[derive(Debug, Clone, Default)]
pub struct Answers(pub(crate) Vec<Remembered>);

/// A look-up's answer.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) kind: String,
    pub(crate) lookup: u128,
    pub(crate) records: Arc<[Arc<Record>]>,
}

impl Answers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes all entities, and of which database they are. Whoever reads it meanwhile sees the one
/// before.
///
/// # Errors
/// If the disk does not take it; the file is as before then.
pub fn write(file: &Path, of: &str, entities: &Entities) -> io::Result<()> {
    write_lines(file, of, |out| {
        for (kind, records) in entities.iter() {
            for record in records.iter() {
                writeln!(out, "{}", json!([kind.schema.name, **record]))?;
            }
        }
        Ok(())
    })
}

/// Writes answers; as [`write`].
///
/// # Errors
/// As [`write`].
pub fn write_answers(file: &Path, of: &str, answers: &Answers) -> io::Result<()> {
    write_lines(file, of, |out| {
        for Remembered { kind, lookup, records } in &answers.0 {
            let records: Vec<&Record> = records.iter().map(|record| &**record).collect();
            writeln!(out, "{}", json!([kind, format!("{lookup:x}"), records]))?;
        }
        Ok(())
    })
}

/// Reads entities; none if there is no such file.
///
/// # Errors
/// If it is of no use, as that of another database.
pub fn read(file: &Path, of: &str, kinds: &Arc<Kinds>) -> Result<Option<Entities>, Unusable> {
    let Some(lines) = lines(file, of)? else { return Ok(None) };
    let mut entities = Entities::empty(Arc::clone(kinds));
    for line in lines {
        let parts: (String, Record) =
            serde_json::from_str(&line?).map_err(|_| Unusable::Damaged)?;
        entities.put(&parts.0, Arc::new(parts.1));
    }
    Ok(Some(entities))
}

/// Reads answers; none if there is no such file.
///
/// # Errors
/// As [`read`].
pub fn read_answers(file: &Path, of: &str) -> Result<Answers, Unusable> {
    let Some(lines) = lines(file, of)? else { return Ok(Answers::default()) };
    let mut answers = Vec::new();
    for line in lines {
        let (kind, lookup, records): (String, String, Vec<Record>) =
            serde_json::from_str(&line?).map_err(|_| Unusable::Damaged)?;
        let lookup = u128::from_str_radix(&lookup, 16).map_err(|_| Unusable::Damaged)?;
        let records = records.into_iter().map(Arc::new).collect();
        answers.push(Remembered { kind, lookup, records });
    }
    Ok(Answers(answers))
}

fn write_lines(
    file: &Path,
    of: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = BufWriter::new(options.open(&draft)?);
    writeln!(out, "{}", json!({"format": FORMAT, "of": of}))?;
    write(&mut out)?;
    out.into_inner()?.sync_data()?;
    fs::rename(draft, file)
}

/// The lines after the first, if that says that the rest is of use.
fn lines(file: &Path, of: &str) -> Result<Option<Lines<BufReader<fs::File>>>, Unusable> {
    let file = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut lines = BufReader::new(file).lines();
    let first = lines.next().ok_or(Unusable::Damaged)??;
    let first: Value = serde_json::from_str(&first).map_err(|_| Unusable::Damaged)?;
    match (first["format"].as_str(), first["of"].as_str()) {
        (Some(FORMAT), Some(is_of)) if is_of == of => Ok(Some(lines)),
        (Some(FORMAT), Some(is_of)) => Err(Unusable::Elsewhere(is_of.to_owned(), of.to_owned())),
        _ => Err(Unusable::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use silverback_model::declarative::{self, Format};

    const HERE: &str = "postgres://here:5432/kong?schema=";

    #[test]
    fn what_was_written_is_read() {
        let kinds = Arc::new(Kinds::bundled([]));
        let text =
            "{_format_version: '3.0', services: [{name: a, host: h, routes: [{paths: [/]}]}]}";
        let entities = declarative::load(text, Format::Any, &kinds).expect("valid").entities;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("good");
        assert!(read(&file, HERE, &kinds).expect("no error").is_none());
        write(&file, HERE, &entities).expect("written");
        let again = read(&file, HERE, &kinds).expect("entities").expect("entities");
        assert_eq!(again.len(), entities.len());
        let service = entities.of("services").by("name", "a");
        assert_eq!(again.of("services").by("name", "a"), service);
        let elsewhere = read(&file, "postgres://there", &kinds).expect_err("of another");
        assert!(matches!(elsewhere, Unusable::Elsewhere(..)), "{elsewhere}");
        let mut text = fs::read_to_string(&file).expect("text");
        text.truncate(text.len() - 3);
        fs::write(&file, text).expect("written");
        assert!(matches!(read(&file, HERE, &kinds), Err(Unusable::Damaged)));
        fs::write(&file, "silverback last good configuration 1\n").expect("written");
        assert!(matches!(read(&file, HERE, &kinds), Err(Unusable::Damaged)));
    }

    #[test]
    fn answers_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("answers");
        assert!(read_answers(&file, HERE).expect("no error").is_empty());
        let record = Arc::new(Record::from_iter([("key".to_owned(), json!("k"))]));
        let records: Arc<[Arc<Record>]> = [record].into();
        let one = Remembered { kind: "acls".into(), lookup: u128::MAX, records };
        write_answers(&file, HERE, &Answers(vec![one.clone()])).expect("written");
        let again = read_answers(&file, HERE).expect("answers");
        let read = again.0.first().expect("one");
        assert_eq!((read.lookup, &read.kind, &read.records), (one.lookup, &one.kind, &one.records));
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(read_answers(&file, "elsewhere").is_err());
    }
}
