//! The servers of the Go, JavaScript and Python PDKs.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use silverback_external::{Condition, Servers};
use silverback_pdk::{Flow, Phase};

use crate::harness::{
    Prefix, Rig, access, block_on, exchange, failed, go, go_legacy, header, js, python, run,
    went_on,
};

/// A plugin that greets does so twice: once on a new connection and instance, once on old ones.
async fn greets(rig: &Rig, plugin: &str, language: &str) {
    let phases = rig.configure(plugin, &json!({"message": "hello"}));
    let name = format!("x-{plugin}");
    for _ in 0..2 {
        let (flow, exchange) = access(&phases).await;
        went_on(&flow);
        let expect = format!("{language} says hello to example.test");
        assert_eq!(header(&exchange.response.headers, &name), expect);
        assert_eq!(header(&exchange.request.headers, &name), "hello");
        assert!(header(&exchange.request.headers, "x-order").contains(plugin));
    }
}

#[test]
fn go_speaks_protocol_buffers() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![go(&prefix, "go-hello")]).await;
        greets(&rig, "go-hello", "Go").await;
        let status = rig.status();
        assert_eq!((status.events, status.calls, status.failures), (2, 14 - 2, 0));
        assert_eq!((status.state, status.protocol), (Condition::Running, "ProtoBuf:1"));
        assert!(status.pid.is_some() && status.rss > Some(1 << 20));
        rig.servers.stop().await;
        assert_eq!(rig.status().state, Condition::Stopped);
    });
}

#[test]
fn go_exits() {
    for (plugin, messages) in [("key-checker", "ProtoBuf:1"), ("key-checker-msgpack", "MsgPack:1")]
    {
        block_on(async {
            let prefix = Prefix::new();
            let rig = Rig::start(vec![go(&prefix, plugin)]).await;
            assert_eq!(rig.status().protocol, messages);
            let wrong = rig.configure(plugin, &json!({"apikey": "other"}));
            let right = rig.configure(plugin, &json!({"apikey": "k1"}));
            for _ in 0..3 {
                let Flow::Exit(answer) = access(&wrong).await.0 else { panic!("no exit") };
                assert_eq!(answer.status, 403);
                assert_eq!(answer.body.unwrap(), r#"{"error":"no such key"}"#);
                assert_eq!(header(&answer.headers, "content-type"), "application/json");
                let (flow, exchange) = access(&right).await;
                went_on(&flow);
                assert_eq!(header(&exchange.request.headers, "x-key-checker"), "k1");
            }
            rig.servers.stop().await;
        });
    }
}

#[test]
fn go_pluginserver_has_several_plugins() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![go_legacy(&prefix)]).await;
        let phases = rig.configure("key-checker", &json!({"apikey": "k1"}));
        went_on(&access(&phases).await.0);
        let phases = rig.configure("legacy-hello", &json!({"message": "hello"}));
        went_on(&access(&phases).await.0);
        rig.servers.stop().await;
    });
}

#[test]
fn javascript() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![js(&prefix)]).await;
        greets(&rig, "js-hello", "JavaScript").await;
        assert!(rig.status().socket.ends_with("js_pluginserver.sock"));
        rig.servers.stop().await;
    });
}

#[test]
fn python_in_each_mode() {
    for flag in ["", "-g", "-m"] {
        block_on(async {
            let prefix = Prefix::new();
            let rig = Rig::start(vec![python(&prefix, flag)]).await;
            greets(&rig, "py-hello", "Python").await;
            let phases = rig.configure("py-second", &json!({"message": "second"}));
            let (flow, exchange) = access(&phases).await;
            went_on(&flow);
            assert_eq!(header(&exchange.response.headers, "x-py-second"), "second");
            rig.servers.stop().await;
        });
    }
}

#[test]
fn an_instance_is_started_once_and_closed_when_unused() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![js(&prefix)]).await;
        let phases = rig.configure("js-hello", &json!({"message": "m"}));
        let many = (0..50).map(|_| access(&phases));
        for (flow, _) in futures_util::future::join_all(many).await {
            went_on(&flow);
        }
        assert_eq!(rig.status().instances, 1);
        drop(phases);
        assert_eq!(rig.status().instances, 0);
        rig.servers.stop().await;
    });
}

#[test]
fn a_plugin_that_raises_fails_its_request_and_the_server_comes_back() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![go(&prefix, "go-fault")]).await;
        let phases = rig.configure("go-fault", &json!({"phase": "access", "do": "raise"}));
        failed(&access(&phases).await.0, "plugin 'go-fault' failed in access");
        let well = rig.configure("go-fault", &json!({"token": "t"}));
        let (flow, exchange) = access(&well).await;
        went_on(&flow);
        assert_eq!(header(&exchange.request.headers, "x-fault-token"), "t");
        let status = rig.status();
        assert!(status.restarts >= 1, "{status:?}");
        assert!(status.last_error.unwrap().contains("exit status 2"));
        rig.servers.stop().await;
    });
}

#[test]
fn python_that_has_locked_itself_out_is_replaced() {
    for flag in ["", "-g"] {
        block_on(async {
            let prefix = Prefix::new();
            let rig = Rig::start(vec![python(&prefix, flag)]).await;
            rig.servers.up(Duration::from_secs(60)).await.unwrap();
            let phases = rig.configure("py-fault", &json!({"phase": "access", "do": "raise"}));
            let began = Instant::now();
            failed(&access(&phases).await.0, "closed the connection");
            assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
            greets(&rig, "py-hello", "Python").await;
            let error = rig.status().last_error.unwrap();
            assert!(error.contains("a thread ended in an exception"), "{error}");
            rig.servers.stop().await;
        });
    }
}

/// A server that somebody else runs: started by hand, killed when this is dropped.
struct ByHand(std::process::Child);

impl ByHand {
    /// Starts it, and waits until it listens.
    async fn start(command: &str, socket: &Path) -> ByHand {
        let mut shell = std::process::Command::new("/bin/sh");
        let child = shell.arg("-c").arg(format!("exec {command}")).spawn().unwrap();
        let began = Instant::now();
        while UnixStream::connect(socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "{command} does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ByHand(child)
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The numbers of instances begin anew with the process.
#[test]
fn a_server_that_others_start_again_mixes_nothing_up() {
    block_on(async {
        let prefix = Prefix::new();
        let mut config = js(&prefix);
        config.socket = prefix.join("js_pluginserver.sock");
        let (command, socket) = (config.start_cmd.take().unwrap(), config.socket.clone());
        let mut server = ByHand::start(&command, &socket).await;
        let rig = Rig::start(vec![config]).await;
        let [a, b] = ["a", "b"].map(|m| (rig.configure("js-hello", &json!({"message": m})), m));
        for order in [[&a, &b], [&b, &a], [&a, &b]] {
            for (phases, message) in order {
                let (flow, exchange) = access(phases).await;
                went_on(&flow);
                assert_eq!(header(&exchange.request.headers, "x-js-hello"), *message);
            }
            drop(server);
            server = ByHand::start(&command, &socket).await;
        }
    });
}

#[test]
fn a_plugin_that_hangs_is_given_up() {
    block_on(async {
        let prefix = Prefix::new();
        let mut config = js(&prefix);
        config.timeout = Duration::from_millis(1000);
        let rig = Rig::start(vec![config]).await;
        rig.running().await;
        let phases = rig.configure("js-fault", &json!({"phase": "access", "do": "hang"}));
        failed(&access(&phases).await.0, "no answer within 1s");
        // The server itself is well, and stays.
        greets(&rig, "js-hello", "JavaScript").await;
        let status = rig.status();
        assert_eq!((status.restarts, status.timeouts), (0, 1));
        rig.servers.stop().await;
    });
}

#[test]
fn each_phase_has_its_event() {
    block_on(async {
        let prefix = Prefix::new();
        let rig = Rig::start(vec![js(&prefix)]).await;
        let nothing = json!({"phase": "log", "do": "nothing", "after_call": true});
        let phases = rig.configure("js-fault", &nothing);
        let every = "certificate, rewrite, access, response, log, preread";
        assert_eq!(phases.set().to_string(), every);
        let mut exchange = exchange("GET", "/", &[]);
        for phase in [Phase::Rewrite, Phase::Access, Phase::Response, Phase::Log] {
            went_on(&run(&phases, phase, &mut exchange).await);
        }
        rig.servers.stop().await;
    });
}

#[test]
fn what_is_wrong_with_a_query_command_is_said() {
    block_on(async {
        let query = |command: &str| silverback_external::Config::new("x", "/none", command);
        #[track_caller]
        fn check(error: &str, expect: &str) {
            assert!(error.contains(expect), "{error}");
        }
        for (command, expect) in [
            ("/no/such/command -dump", "exit status 127 (command not found); it complained: "),
            ("echo oops; exit 3", "exit status 3; it printed: oops"),
            ("true", "it printed nothing"),
            ("echo WARN; echo oh >&2", "no JSON; it printed: WARN; it complained: oh"),
            ("echo '[{\"Name\":\"a\",\"Schema\":5}]'", "the schema of plugin 'a'"),
        ] {
            let errors = Servers::query(vec![query(command)]).await.err().unwrap();
            check(&errors.to_string(), expect);
            check(&errors.to_string(), "plugin server 'x': query command");
        }
    });
}
