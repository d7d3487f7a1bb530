//! What was acknowledged stays, whatever becomes of the process and the disk.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use silverback_model::set::PageQuery;
use silverback_store::{Options, Store, ttl};
use tempfile::TempDir;

use crate::kit::{id, kinds, record};

/// The file that a child process is to write to, or the directory that is to become full.
const FILE: &str = "SILVERBACK_TEST_FILE";

/// Writes without end, and says what was acknowledged.
#[test]
#[ignore = "runs as a child process of another test"]
fn child_writes() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let store = Store::sqlite(Path::new(&file), &kinds()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let write = async || {
            for n in 0.. {
                let consumer = json!({"username": format!("{n} {}", ttl::now())});
                let options = Options::default();
                // A name that was taken already is no matter.
                if let Ok(kept) = store.insert("consumers", record(consumer), &options).await {
                    println!("kept {}", kept["id"].as_str().unwrap());
                }
            }
        };
        tokio::join!(write(), write(), write(), write(), write(), write());
    });
}

#[tokio::test]
async fn a_killed_process_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("silverback.db");
    for round in 0..5_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "endurance::child_writes"])
            .env(FILE, &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut kept = Vec::new();
        // Killed at another moment each time.
        while kept.len() < 100 + round as usize * 37 {
            let line = said.next().unwrap().unwrap();
            kept.extend(line.rsplit_once("kept ").map(|(_, id)| id.to_owned()));
        }
        child.kill().unwrap();
        kept.extend(said.map_while(Result::ok).filter_map(|line| {
            // The last line may be cut off.
            let id = line.rsplit_once("kept ")?.1.to_owned();
            (id.len() == 36).then_some(id)
        }));
        child.wait().unwrap();
        let store = Store::sqlite(&file, &kinds()).unwrap();
        for id in &kept {
            assert!(store.entities().of("consumers").get(id).is_some(), "{id} is lost");
        }
    }
}

/// In a name space of its own, where a small disk can be had.
#[test]
#[ignore = "runs as a child process of another test"]
fn child_fills_the_disk() {
    let Some(directory) = std::env::var_os(FILE) else { return };
    let file = Path::new(&directory).join("silverback.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kept = runtime.block_on(async {
        let store = Store::sqlite(&file, &kinds()).unwrap();
        let options = Options::default();
        let insert = async |n: u32| {
            let tags = vec!["t".repeat(900); 5];
            let consumer = json!({"id": id(n), "username": id(n), "tags": tags});
            store.insert("consumers", record(consumer), &options).await
        };
        let mut kept = 0;
        let fault = loop {
            match insert(kept).await {
                Ok(_) => kept += 1,
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.status(), 500, "{fault}");
        assert!(fault.message.contains("full"), "{fault}");
        // What is there is served still, and nothing of the refused write is.
        let page = store.page("consumers", &PageQuery::default()).await.unwrap();
        assert_eq!(page.records.len(), 100.min(kept as usize));
        assert_eq!(store.entities().of("consumers").len(), kept as usize);
        // When there is room again, so does writing go on.
        std::fs::remove_file(Path::new(&directory).join("ballast")).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        insert(kept).await.unwrap();
        kept + 1
    });
    let store = Store::sqlite(&file, &kinds()).unwrap();
    assert_eq!(store.entities().of("consumers").len(), kept as usize);
    println!("kept {kept}");
}

#[test]
fn a_full_disk_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().display().to_string();
    let itself = std::env::current_exe().unwrap().display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=3m none {path} && head -c 400000 /dev/zero > {path}/ballast && \
         {FILE}={path} {itself} --ignored --exact --nocapture endurance::child_fills_the_disk"
    );
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("kept "), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
