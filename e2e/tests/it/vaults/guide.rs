//! The examples of docs/vaults.md, run as they stand.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use silverback_e2e::gateway::free_port;
use silverback_e2e::setup;

/// The blocks of code: what stands behind the opening fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| !line.starts_with("```"));
            let text = text.map(|line| format!("{line}\n")).collect();
            blocks.push((kind.to_owned(), text));
        }
    }
    blocks
}

/// Ends the node, however the examples go.
struct Ended(std::path::PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        let prefix = self.0.join("node");
        let _ = Command::new(setup::gateway()).arg("stop").arg("-p").arg(prefix).output();
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn examples_do_what_they_say() {
    let page = fs::read_to_string(setup::root().join("docs/vaults.md")).unwrap();
    let top = std::env::temp_dir().join(format!("silverback-guide-{}", std::process::id()));
    let _ = fs::remove_dir_all(&top);
    fs::create_dir_all(top.join("bin")).unwrap();
    let top = Ended(top);
    symlink(setup::gateway(), top.0.join("bin/silverback")).unwrap();
    // Ports of the machine that somebody else may have.
    let ports = [("127.0.0.1:8000", free_port()), ("127.0.0.1:8001", free_port())];
    let here = |text: &str| {
        ports.iter().fold(text.to_owned(), |text, (port, free)| {
            text.replace(port, &format!("127.0.0.1:{free}"))
        })
    };
    let mut script = String::from("set -e\nexport PATH=$PWD/bin:$PATH\n");
    let mut expect = String::new();
    for (kind, text) in blocks(&page) {
        match kind.split_once(' ') {
            Some((_, file)) => fs::write(top.0.join(file), here(&text)).unwrap(),
            None if kind == "sh" => script += &here(&text),
            None => expect += &text,
        }
    }
    assert!(expect.lines().count() > 5, "the examples were not found");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&top.0)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expect, "{said}");
    let missing = "could not get value from external vault (no value found (there is no ";
    assert!(output.status.success() && said.contains(missing), "{said}");
}
