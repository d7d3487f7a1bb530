//! The commented configuration file, made from the table of keys.

use super::keys::{Effect, Key, Kind, SECTIONS};

const HEAD: &str = "\
# Silverback's configuration.
#
# Every setting is shown with its default, behind a `#`. To change one, take the `#` away.
# A setting NAME can also be given as the environment variable KONG_NAME, in capitals, which
# counts more than this file.
#
# - Booleans are on, off, true or false. Lists have commas between their entries.
# - A `#` starts a comment; write `\\#` where a value has one.
# - Values may refer to secrets: {vault://env/NAME}, {vault://file/NAME}; see docs/vaults.md.
# - Without -c, this file is looked for at /etc/kong/kong.conf and /etc/kong.conf.
";

/// The text of a kong.conf that shows every setting with its default and a few words.
pub(crate) fn commented_file() -> String {
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        let rule = "-".repeat(78);
        text.push_str(&format!("\n#{rule}\n# {}\n#{rule}\n", section.title));
        for key in section.keys {
            text.push_str(&entry(key));
        }
    }
    text
}

fn entry(key: &Key) -> String {
    let mut lines: Vec<String> = key.doc.lines().map(str::to_owned).collect();
    match key.kind {
        Kind::Enum(words) => lines.push(format!("One of: {}.", words.join(", "))),
        Kind::Number(range) => lines.push(format!("A number; it {}.", range.must)),
        _ => {}
    }
    if let Effect::Ignored(reason) = key.effect {
        lines.push(format!("Has no effect: {reason}."));
    }
    let comment: String = lines.iter().map(|line| format!("# {line}\n")).collect();
    let assignment = format!("#{} = {}", key.name, key.default);
    format!("\n{comment}{}\n", assignment.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{file, keys};

    #[test]
    fn an_entry() {
        let key = keys::find("db_update_frequency").expect("a key");
        assert_eq!(
            entry(key),
            "\n# Seconds between looks for changes made by other nodes.\n\
             # A number; it must be 0 or greater.\n\
             #db_update_frequency = 5\n"
        );
        let key = keys::find("anonymous_reports").expect("a key");
        assert_eq!(
            entry(key),
            "\n# Kong's reports of usage. Silverback sends none.\n\
             # Has no effect: Silverback sends no reports.\n\
             #anonymous_reports = on\n"
        );
    }

    #[test]
    fn is_a_file_of_comments_with_every_key() {
        let text = commented_file();
        assert_eq!(file::parse("kong.conf", &text), Ok(vec![]));
        let uncommented: String = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| line.starts_with(|c: char| c == '_' || c.is_ascii_lowercase()))
            .map(|line| format!("{line}\n"))
            .collect();
        let entries = file::parse("kong.conf", &uncommented).expect("well formed");
        let got: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
        let expect: Vec<_> = keys::all().map(|key| (key.name, key.default)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn lines_are_short() {
        for line in commented_file().lines().filter(|line| line.starts_with("# ")) {
            assert!(line.len() <= 140, "{line}");
        }
    }
}
