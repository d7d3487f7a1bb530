//! The least that a client of a plugin server can do: one connection, one blocking thread, the same
//! frames as a gateway's. It is what the gateway's CPU per PDK call is compared with.
//!
//!     pingpong protobuf|msgpack SOCKET PLUGIN CALLS SECONDS
//!
//! Prints `EVENTS_PER_SECOND CPU_MICROSECONDS_PER_EVENT`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark ends when something is wrong")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, socket, plugin, calls, seconds] = &arguments[..] else {
        panic!("usage: pingpong protobuf|msgpack SOCKET PLUGIN CALLS SECONDS");
    };
    let config = format!(r#"{{"calls":{calls},"__seq__":1}}"#);
    let duration = Duration::from_secs_f64(seconds.parse().unwrap());
    let stream = UnixStream::connect(socket).unwrap();
    let mut server: Box<dyn Server> = match protocol.as_str() {
        "protobuf" => Box::new(ProtoBuf { stream, buffer: Vec::new(), at: 0 }),
        "msgpack" => Box::new(MessagePack { stream, id: 0 }),
        other => panic!("{other} is no protocol"),
    };
    let instance = server.start(plugin, &config);
    for _ in 0..200 {
        server.event(&instance);
    }
    let (started, cpu) = (Instant::now(), own_cpu_ns());
    let mut events = 0;
    while started.elapsed() < duration {
        let made = server.event(&instance);
        assert_eq!(made.to_string(), *calls, "PDK calls of an event");
        events += 1;
    }
    let per_second = f64::from(events) / started.elapsed().as_secs_f64();
    let microseconds = (own_cpu_ns() - cpu) as f64 / 1000.0 / f64::from(events);
    println!("{per_second:.1} {microseconds:.2}");
}

trait Server {
    /// Starts an instance; its id as the protocol writes it.
    fn start(&mut self, plugin: &str, config: &str) -> Vec<u8>;
    /// Runs one access event; how many PDK calls it made.
    fn event(&mut self, instance: &[u8]) -> usize;
}

/// What this thread has run, in ns.
fn own_cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

struct ProtoBuf {
    stream: UnixStream,
    buffer: Vec<u8>,
    at: usize,
}

impl ProtoBuf {
    fn send(&mut self, message: &[u8]) {
        let frame = [&(message.len() as u32).to_le_bytes(), message].concat();
        self.stream.write_all(&frame).unwrap();
    }

    fn fill(&mut self, wanted: usize) {
        while self.buffer.len() - self.at < wanted {
            self.buffer.drain(..self.at);
            self.at = 0;
            let mut chunk = [0; 8192];
            let length = self.stream.read(&mut chunk).unwrap();
            assert!(length > 0, "the server has closed the connection");
            self.buffer.extend(&chunk[..length]);
        }
    }

    fn frame(&mut self) -> Vec<u8> {
        self.fill(4);
        let length = u32::from_le_bytes(self.buffer[self.at..self.at + 4].try_into().unwrap());
        self.at += 4;
        self.fill(length as usize);
        let frame = self.buffer[self.at..self.at + length as usize].to_vec();
        self.at += length as usize;
        frame
    }
}

impl Server for ProtoBuf {
    fn start(&mut self, plugin: &str, config: &str) -> Vec<u8> {
        let name = [&[0x0a, plugin.len() as u8], plugin.as_bytes()].concat();
        let config = [&[0x12, config.len() as u8], config.as_bytes()].concat();
        let length = (name.len() + config.len()) as u8;
        self.send(&[&[8, 1, 0x8a, 2, length][..], &name, &config].concat());
        self.frame();
        vec![1] // the id is the configuration's __seq__
    }

    fn event(&mut self, instance: &[u8]) -> usize {
        let event = [&[8], instance, b"\x12\x06access"].concat();
        self.send(&[&[8, 2, 0xa2, 2, event.len() as u8][..], &event].concat());
        let mut calls = 0;
        while !self.frame().is_empty() {
            self.frame(); // the argument
            self.send(b"\x0a\x0cexample.test");
            calls += 1;
        }
        self.frame();
        calls
    }
}

struct MessagePack {
    stream: UnixStream,
    id: u8,
}

impl MessagePack {
    /// A request and its answer.
    fn ask(&mut self, method: &str, argument: &[u8]) -> Vec<u8> {
        self.id = (self.id + 1) % 100;
        let name = [&[0xa0 | method.len() as u8], method.as_bytes()].concat();
        let request = [&[0x94, 0, self.id][..], &name, &[0x91], argument].concat();
        self.stream.write_all(&request).unwrap();
        let mut answer = vec![0; 8192];
        let length = self.stream.read(&mut answer).unwrap();
        assert_eq!(answer[..4], [0x94, 1, self.id, 0xc0], "an error, or no answer");
        answer.truncate(length);
        answer
    }
}

impl Server for MessagePack {
    fn start(&mut self, plugin: &str, config: &str) -> Vec<u8> {
        let name = [&[0xa0 | plugin.len() as u8], plugin.as_bytes()].concat();
        let config = [&[0xd9, config.len() as u8], config.as_bytes()].concat();
        let argument = [&b"\x82\xa4Name"[..], &name, b"\xa6Config", &config].concat();
        // A method name of 20 bytes is a short string, too.
        number_after(&self.ask("plugin.StartInstance", &argument), b"\xa2Id")
    }

    fn event(&mut self, instance: &[u8]) -> usize {
        let argument = [&b"\x82\xaaInstanceId"[..], instance, b"\xa9EventName\xa6access"].concat();
        let mut answer = self.ask("plugin.HandleEvent", &argument);
        let mut calls = 0;
        while find(&answer, b"\xa4Data\xa3ret").is_none() {
            let event = number_after(&answer, b"\xa7EventId");
            let data = b"\xa4Data\xacexample.test";
            let argument = [&b"\x82\xa7EventId"[..], &event, data].concat();
            answer = self.ask("plugin.Step", &argument);
            calls += 1;
        }
        calls
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The bytes of the integer that follows a key.
fn number_after(bytes: &[u8], key: &[u8]) -> Vec<u8> {
    let at = find(bytes, key).unwrap() + key.len();
    let length = match bytes[at] {
        0xcc => 2,
        0xcd => 3,
        0xce => 5,
        0xcf => 9,
        _ => 1,
    };
    bytes[at..at + length].to_vec()
}
