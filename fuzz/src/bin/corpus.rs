//! Between a target's corpus and a folder of files, which is what libFuzzer reads and writes:
//! `corpus expand TARGET FOLDER`, `corpus collect TARGET FOLDER`.

use std::{collections::BTreeSet, error::Error, fs, path::Path};

use silverback_fuzz::{Corpus, escaped};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["expand", target, folder] => expand(target, Path::new(folder)),
        ["collect", target, folder] => collect(target, Path::new(folder)),
        _ => Err("corpus expand|collect TARGET FOLDER".into()),
    }
}

fn expand(target: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (number, input) in Corpus::read(target)?.inputs.iter().enumerate() {
        fs::write(folder.join(format!("corpus-{number}")), input)?;
    }
    Ok(())
}

/// How long an input may be to be kept: the corpus is to stay readable.
const INPUT_MAX: usize = 120;
/// How many may be kept.
const INPUTS_MAX: usize = 400;

/// Adds what is in the folder and not in the corpus, the shortest first.
fn collect(target: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let path = Corpus::path(target);
    let mut text = fs::read_to_string(&path)?;
    let known: BTreeSet<Vec<u8>> = Corpus::read(target)?.inputs.into_iter().collect();
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let input = fs::read(file?.path())?;
        if input.len() <= INPUT_MAX && !known.contains(&input) {
            found.push(input);
        }
    }
    found.sort_by_key(|input| (input.len(), input.clone()));
    found.truncate(INPUTS_MAX.saturating_sub(known.len()));
    for input in &found {
        text.push_str(&escaped(input));
        text.push('\n');
    }
    fs::write(&path, text)?;
    println!("{}: {} known, {} added", path.display(), known.len(), found.len());
    Ok(())
}
