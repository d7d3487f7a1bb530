//! `docs/configuration.md` is made from the table of keys.

use super::{ALIASES, DIRECTIVES_USED, Effect, FAMILIES, SECTIONS};

const INTRODUCTION: &str = "\
# Configuration

Settings stand in `kong.conf` (`silverback start -c FILE`) or in the environment as `KONG_` and the
name in capitals, which counts more. Names, kinds and defaults are Kong 3.10's. What has no effect
here is taken all the same, so that a configuration of Kong's works unchanged, and said at the
start; what is unknown is warned of.
`silverback check FILE` says what is wrong with a file.

";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in SECTIONS {
        page += &format!(
            "## {}\n| Setting | Default | Meaning |\n| --- | --- | --- |\n",
            section.title
        );
        for key in section.keys {
            let doc = key.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            let default = match key.default {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let effect = match key.effect {
                Effect::Used => String::new(),
                Effect::Ignored(reason) => format!(" **No effect**: {reason}."),
            };
            let text = format!("| `{}` | {default} | {doc}{effect} |\n", key.name);
            page += &text.replace("||", "\\|\\|");
        }
        page += "\n";
    }
    page += "## Other names\nThese stand for others.\n\n| Name | Setting |\n| --- | --- |\n";
    for alias in ALIASES {
        page += &format!("| `{}` | `{}` |\n", alias.name, alias.replacement);
    }
    page += "\n## Directives of nginx\nBeside those above, these have an effect:\n\n";
    for name in DIRECTIVES_USED {
        page += &format!("- `{name}`\n");
    }
    page += "\nOthers that begin like these are taken, and have no effect:\n\n";
    for family in FAMILIES {
        if let Effect::Ignored(reason) = family.effect {
            page += &format!("- `{}*`: {reason}\n", family.prefix);
        }
    }
    page
}

#[test]
fn the_page_is_that_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = page();
    if std::env::var_os("SILVERBACK_BLESS").is_some() {
        std::fs::write(path, &page).expect("docs/configuration.md can be written");
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == page,
        "docs/configuration.md is stale: SILVERBACK_BLESS=1 cargo test -p silverback"
    );
}
