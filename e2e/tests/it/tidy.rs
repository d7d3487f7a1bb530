//! The house rules that a machine can check (CONTRIBUTING.md).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use silverback_e2e::setup::root;

const LINE_COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
/// Crates whose code runs on traffic.
const DATA_PATH: [&str; 4] = ["proxy", "external", "pdk", "router"];

/// Files under version control, or about to be, that match.
fn tracked(keep: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "git ls-files failed: tidy needs a git checkout");
    let names = String::from_utf8(output.stdout).unwrap();
    let files = names.lines().map(PathBuf::from).filter(|path| keep(path));
    files.filter(|path| root().join(path).is_file()).collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "rs")
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// Fails with all findings at once.
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn lines_are_short() {
    let mut findings = Vec::new();
    for path in tracked(is_rust) {
        for (i, line) in read(&path).lines().enumerate() {
            let columns = line.chars().count();
            // Neither a URL nor a regular expression can be wrapped.
            let whole = line.contains("https://") || line.trim_start().starts_with("r\"");
            if columns > LINE_COLUMNS_MAX && !whole {
                findings.push(format!("{}:{}: {columns} columns", path.display(), i + 1));
            }
        }
    }
    assert_none(&findings);
}

/// The lines of each function, found by rustfmt's indentation: (name's line, first, last).
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
        let mut rest = code.split(' ').skip_while(|w| words.contains(w) || w.starts_with('"'));
        if rest.next() != Some("fn") || line.ends_with('}') || line.ends_with(';') {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let last = lines[first..].iter().position(|line| *line == end);
        out.extend(last.map(|length| (code.to_string(), first + 1, first + 1 + length)));
    }
    out
}

#[test]
fn functions_fit_a_screen() {
    let mut findings = Vec::new();
    for path in tracked(is_rust) {
        for (name, first, last) in functions(&read(&path)) {
            let lines = last - first + 1;
            if lines > FUNCTION_LINES_MAX {
                findings.push(format!("{}:{first}: {lines} lines: {name}", path.display()));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn functions_are_found() {
    let text =
        "impl X {\n    pub(crate) async fn a(\n        b: u8,\n    ) {\n    }\n}\nfn c() {}\n";
    assert_eq!(functions(text), [("pub(crate) async fn a(".to_string(), 2, 5)]);
}

#[test]
fn modules_stand_beside_their_folders() {
    let named = |path: &Path| path.file_name().is_some_and(|name| name == "mod.rs");
    let findings = tracked(named);
    assert!(findings.is_empty(), "`foo.rs` beside `foo/`, not mod.rs: {findings:?}");
}

/// Whether a file holds nothing but tests or what they stand on.
fn is_test(path: &Path) -> bool {
    let folder = |name: &str| path.components().any(|part| part.as_os_str() == name);
    folder("tests") || path.ends_with("tests.rs") || path.ends_with("testing.rs")
}

/// What can panic on traffic; tests stand at the end of their file, behind `#[cfg(test)]`.
#[test]
fn the_data_path_does_not_panic() {
    let mut findings = Vec::new();
    let in_path = |path: &Path| {
        let own = DATA_PATH.iter().any(|name| path.starts_with(format!("{name}/src")));
        own && is_rust(path) && !is_test(path)
    };
    for path in tracked(in_path) {
        let text = read(&path);
        let lines = text.lines().enumerate();
        for (i, line) in lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]")) {
            let code = line.split("//").next().unwrap_or_default();
            let panics = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("];
            if let Some(found) = panics.iter().find(|panics| code.contains(*panics)) {
                findings.push(format!("{}:{}: {found}", path.display(), i + 1));
            }
        }
    }
    assert_none(&findings);
}

/// The members of the workspace in their order, with the own crates that each depends on.
fn members() -> Vec<(String, Vec<String>)> {
    let manifest = read(Path::new("Cargo.toml"));
    let list = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let names = list.unwrap_or_default().split('"').skip(1).step_by(2);
    let with_dependencies = |name: &str| {
        let manifest = read(&Path::new(name).join("Cargo.toml"));
        let own = manifest.lines().filter_map(|line| line.trim().strip_prefix("silverback-"));
        let end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        let own = own.map(|rest| rest.split(end).next().unwrap_or_default().to_string());
        (name.to_string(), own.collect())
    };
    names.map(with_dependencies).collect()
}

/// An arrow between crates only ever points down the list of members (ARCHITECTURE.md).
#[test]
fn dependencies_point_down() {
    let members = members();
    assert!(members.len() >= 10, "the list of members could not be read: {members:?}");
    let place = |name: &str| members.iter().position(|(member, _)| member == name);
    let mut findings = Vec::new();
    for (name, dependencies) in &members {
        for dependency in dependencies {
            if place(dependency) <= place(name) {
                findings.push(format!("{name} depends on {dependency}, which stands above it"));
            }
        }
    }
    // The data plane knows neither the plugin hosts nor the store, no host knows the data plane.
    let apart = [("proxy", "external"), ("proxy", "store"), ("external", "proxy")];
    for (name, other) in apart {
        if members.iter().any(|(m, d)| m == name && d.iter().any(|d| d == other)) {
            findings.push(format!("{name} must not know {other}"));
        }
    }
    assert_none(&findings);
}

/// The text speaks of the gateway, never of how or by whom it was made.
#[test]
fn the_text_speaks_of_the_gateway() {
    let text = |path: &Path| {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let ours =
            !path.starts_with("conformance/scenarios") && !path.starts_with("conformance/facts");
        // User agents are what it is about.
        let browsers = path.starts_with("plugins/src/bot_detection")
            || path.ends_with("plugins/src/bot_detection.rs");
        ours && !browsers
            && !path.ends_with("tests/it/tidy.rs")
            && (matches!(end, "rs" | "md" | "toml" | "yml" | "yaml" | "py" | "go" | "js" | "ts")
                || end.is_empty())
    };
    let makers = r"(?i:\b(claude|anthropic|chatgpt|openai|copilot|llms?|language model)\b)";
    let banned = regex::Regex::new(&format!(r"{makers}|\bAI\b|\b([Ss]ub)?[Aa]gents?\b")).unwrap();
    let legal = regex::Regex::new(r"(?i)user[-_ ]agents?|ai-[a-z]+").unwrap();
    let mut findings = Vec::new();
    for path in tracked(text) {
        for (i, line) in read(&path).lines().enumerate() {
            if let Some(found) = banned.find(&legal.replace_all(line, "")) {
                findings.push(format!("{}:{}: {}", path.display(), i + 1, found.as_str()));
            }
        }
    }
    assert_none(&findings);
}
