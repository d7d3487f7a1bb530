//! Servers that end, come back, are replaced and are stopped.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use silverback_external::{Condition, Config, Servers};

use crate::harness::{Prefix, Rig, access, block_on, failed, go, js, went_on};

fn kill(pid: Option<u32>) {
    let status = Command::new("kill").arg("-9").arg(pid.unwrap().to_string()).status();
    assert!(status.unwrap().success());
}

fn lives(pid: Option<u32>) -> bool {
    std::path::Path::new(&format!("/proc/{}", pid.unwrap())).exists()
}

#[test]
fn a_killed_server_is_back_at_once() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![go(&prefix, "go-hello")]).await;
        let phases = rig.configure("go-hello", &json!({"message": "m"}));
        went_on(&access(&phases).await.0);
        let before = rig.status();
        kill(before.pid);
        let began = Instant::now();
        // Not one request fails: nothing has been sent when the end of the server is noticed.
        while rig.status().restarts == 0 || rig.status().state != Condition::Running {
            went_on(&access(&phases).await.0);
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", rig.status());
        }
        went_on(&access(&phases).await.0);
        let status = rig.status();
        assert_eq!((status.state, status.restarts), (Condition::Running, 1));
        assert_ne!(status.pid, before.pid);
        assert!(status.last_error.unwrap().contains("signal 9"));
        rig.servers.stop().await;
        assert!(!lives(status.pid));
    });
}

#[test]
fn a_server_that_keeps_ending_is_tried_ever_more_seldom() {
    block_on(async {
        let prefix = Prefix::new();
        let dump = r#"echo '[{"Name":"a","Phases":["access"],"Schema":{"name":"a",
            "fields":[{"config":{"type":"record","fields":[]}}]}}]'"#;
        let mut config = Config::new("bad", prefix.join("bad.sock"), dump);
        config.start_cmd = Some("/bin/sh -c 'echo out of luck >&2; exit 9'".to_owned());
        let rig = Rig::start(vec![config]).await;
        let status = rig.until(|s| s.state == Condition::CrashLoop).await;
        let error = status.last_error.unwrap();
        assert_eq!(error, "it ended with exit status 9; it said last: out of luck");
        assert!(status.restarts < 10);
        let phases = rig.configure("a", &json!({}));
        let began = Instant::now();
        failed(&access(&phases).await.0, "it is down: it ended with exit status 9");
        assert!(began.elapsed() < Duration::from_secs(3));
        rig.servers.stop().await;
    });
}

#[test]
fn reload_replaces_the_process_under_load() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![js(&prefix)]).await;
        let phases = rig.configure("js-hello", &json!({"message": "m"}));
        let slow =
            rig.configure("js-fault", &json!({"phase": "access", "do": "sleep", "ms": 1500}));
        went_on(&access(&phases).await.0);
        let before = rig.status();
        let load = async {
            for _ in 0..200 {
                went_on(&access(&phases).await.0);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // One event runs on the old process all the while.
        let long = async { went_on(&access(&slow).await.0) };
        let reload = async { rig.servers.reload(None).await.unwrap() };
        tokio::join!(load, long, reload);
        let status = rig.status();
        assert_ne!(status.pid, before.pid);
        assert_eq!((status.state, status.failures), (Condition::Running, 0));
        let began = Instant::now();
        while lives(before.pid) {
            assert!(began.elapsed() < Duration::from_secs(20), "the old process stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rig.servers.stop().await;
    });
}

#[test]
fn a_server_of_somebody_else_is_only_connected_to() {
    block_on(async {
        let prefix = Prefix::new();
        let mut config = go(&prefix, "go-hello");
        let start = config.start_cmd.take().unwrap();
        let rig = Rig::start(vec![config]).await;
        let phases = rig.configure("go-hello", &json!({"message": "m"}));
        failed(&access(&phases).await.0, "can't connect to");
        let run = || Command::new("/bin/sh").arg("-c").arg(format!("exec {start}")).spawn();
        for _ in 0..2 {
            let mut server = run().unwrap();
            let began = Instant::now();
            while failing(&access(&phases).await.0) {
                assert!(began.elapsed() < Duration::from_secs(20), "it is not found");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            server.kill().unwrap();
            server.wait().unwrap();
            failed(&access(&phases).await.0, "can't connect to");
        }
        assert_eq!(rig.status().state, Condition::External);
        assert!(rig.servers.reload(None).await.is_err());
        rig.servers.stop().await;
    });
}

fn failing(flow: &silverback_pdk::Flow) -> bool {
    matches!(flow, silverback_pdk::Flow::Fail(_))
}

#[test]
fn servers_that_were_never_started_stop_at_once() {
    fn shared<T: Send + Sync>(_: &T) {}
    block_on(async {
        let prefix = Prefix::new();
        let (servers, _) = Servers::query(vec![go(&prefix, "go-hello")]).await.unwrap();
        shared(&servers);
        servers.reload(None).await.unwrap();
        servers.stop().await;
        servers.supervise().await;
        servers.stop().await;
    });
}

#[test]
fn a_gateway_that_is_killed_leaves_no_server_behind() {
    let prefix = Prefix::new();
    let pid = std::thread::scope(|scope| {
        let gateway = scope.spawn(|| {
            let mut pid = None;
            block_on(async {
                let rig = Rig::start(vec![js(&prefix)]).await;
                pid = rig.running().await.pid;
                // The supervisor is dropped with the runtime, without having stopped anything.
            });
            pid
        });
        gateway.join().unwrap()
    });
    let began = Instant::now();
    while lives(pid) && !zombie(pid) {
        assert!(began.elapsed() < Duration::from_secs(20), "the server stays");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn zombie(pid: Option<u32>) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.unwrap()));
    stat.is_ok_and(|stat| stat.contains(") Z "))
}
