//! The yardstick for plugin servers: a client that speaks to a server as any event-driven gateway
//! must (non-blocking sockets, epoll, one outstanding call per connection) and does nothing else.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};

use crate::frames::{Heard, Wire};
use crate::results::Sample;
use crate::stage::{Stage, cpu_ns, family, own_cpu_ns, pinned};
use crate::wrk::HEADER;

/// The hidden argument that makes this program the client.
pub(crate) const VERB: &str = "__pingpong";
/// How long to play before measuring.
const WARM_UP: Duration = Duration::from_millis(200);
/// The longest wait for a server.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Instance ids of ours begin here, far from the gateway's, which share the server.
const INSTANCE_FIRST: u32 = 1_000_000_000;

/// What to play.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Game {
    /// The protocol's name.
    pub(crate) wire: String,
    /// The server's socket.
    pub(crate) socket: PathBuf,
    /// The plugin.
    pub(crate) plugin: String,
    /// PDK calls per event.
    pub(crate) calls: usize,
    /// Connections, each with an event under way.
    pub(crate) connections: usize,
    /// For how long.
    pub(crate) milliseconds: u64,
    /// The server's process.
    pub(crate) server: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Score {
    events: u64,
    client_ns: u64,
    server_ns: u64,
    wall_ns: u64,
}

/// Plays a game in a process on the gateway's core.
pub(crate) fn measure(stage: &Stage<'_>, game: &Game) -> Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([VERB, &serde_json::to_string(game)?]);
    let output = pinned(&stage.gateway_cores, &command).output()?;
    if !output.status.success() {
        bail!("the ping-pong client: {}", String::from_utf8_lossy(&output.stderr));
    }
    let score: Score = serde_json::from_slice(&output.stdout)?;
    let events = score.events.max(1) as f64;
    Ok(Sample {
        cpu_us: score.client_ns as f64 / events / 1000.0,
        server_us: score.server_ns as f64 / events / 1000.0,
        per_second: events / (score.wall_ns as f64 / 1e9),
        p99_ms: 0.0,
        busy: score.client_ns as f64 / score.wall_ns as f64,
    })
}

/// Plays the game in the argument and prints the score, both as JSON.
pub(crate) fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    let game: Game = serde_json::from_str(&args.next().context("a game")?)?;
    let mut players = Players::new(&game)?;
    players.play(WARM_UP)?;
    let server = family(game.server);
    let (client_before, server_before) = (own_cpu_ns()?, cpu_ns(&server)?);
    let (begin, events_before) = (Instant::now(), players.events);
    players.play(Duration::from_millis(game.milliseconds))?;
    let score = Score {
        events: players.events - events_before,
        client_ns: own_cpu_ns()? - client_before,
        server_ns: cpu_ns(&server)? - server_before,
        wall_ns: u64::try_from(begin.elapsed().as_nanos())?,
    };
    players.finish()?;
    println!("{}", serde_json::to_string(&score)?);
    Ok(())
}

struct Player {
    stream: UnixStream,
    input: Vec<u8>,
    filled: usize,
}

struct Players {
    wire: Wire,
    event: Vec<u8>,
    players: Vec<Player>,
    poll: Poll,
    ready: Events,
    output: Vec<u8>,
    /// Events that have ended.
    events: u64,
}

impl Players {
    /// Connects, starts the instance, and sends the first event on each connection.
    fn new(game: &Game) -> Result<Players> {
        let wire = Wire::named(&game.wire)?;
        let instance = start_instance(wire, game)?;
        let event = wire.event(instance);
        let poll = Poll::new()?;
        let mut players = Vec::new();
        for i in 0..game.connections {
            let stream = BlockingStream::connect(&game.socket)?;
            stream.set_nonblocking(true)?;
            let mut stream = UnixStream::from_std(stream);
            poll.registry().register(&mut stream, Token(i), Interest::READABLE)?;
            stream.write_all(&event)?;
            players.push(Player { stream, input: vec![0; 16 * 1024], filled: 0 });
        }
        let ready = Events::with_capacity(game.connections.max(1));
        Ok(Players { wire, event, players, poll, ready, output: Vec::new(), events: 0 })
    }

    /// Answers calls and begins events anew for this long.
    fn play(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.events += self.turns()?;
        }
        Ok(())
    }

    /// Lets the events under way come to their end: the JavaScript server dies of a connection
    /// that closes while it writes to it.
    fn finish(&mut self) -> Result<()> {
        self.event.clear();
        let mut under_way = self.players.len() as u64;
        while under_way > 0 {
            under_way -= self.turns()?;
        }
        Ok(())
    }

    /// Waits for the server and answers what it says; how many events have ended.
    fn turns(&mut self) -> Result<u64> {
        self.poll.poll(&mut self.ready, Some(SILENCE_MAX))?;
        if self.ready.is_empty() {
            bail!("the plugin server has been silent for {SILENCE_MAX:?}");
        }
        let mut ended = 0;
        for event in &self.ready {
            let player = self.players.get_mut(event.token().0).context("a player")?;
            ended += player.turn(self.wire, &self.event, &mut self.output)?;
        }
        Ok(ended)
    }
}

impl Player {
    /// Reads what is there and answers it with one write; how many events have ended.
    fn turn(&mut self, wire: Wire, event: &[u8], output: &mut Vec<u8>) -> Result<u64> {
        let mut ended = 0;
        loop {
            let room = &mut self.input[self.filled..];
            let length = room.len();
            let count = match self.stream.read(room) {
                Ok(0) => bail!("the plugin server has closed the connection"),
                Ok(count) => count,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(ended),
                Err(err) => return Err(err.into()),
            };
            self.filled += count;
            let mut taken = 0;
            while let Some((length, heard)) = wire.hear(&self.input[taken..self.filled])? {
                taken += length;
                match heard {
                    Heard::Call(id) => wire.answer(id, HEADER.1, output),
                    Heard::Done(_) => {
                        ended += 1;
                        output.extend_from_slice(event);
                    }
                }
            }
            self.input.copy_within(taken..self.filled, 0);
            self.filled -= taken;
            if !output.is_empty() {
                self.stream.write_all(output)?;
                output.clear();
            }
            // A short read has emptied the socket: what follows comes with an event of its own.
            if count < length {
                return Ok(ended);
            }
        }
    }
}

fn start_instance(wire: Wire, game: &Game) -> Result<u64> {
    let mut stream = BlockingStream::connect(&game.socket)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let seq = INSTANCE_FIRST + u32::try_from(game.calls)?;
    stream.write_all(&wire.start_instance(&game.plugin, game.calls, seq))?;
    let mut input = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).context("starting the plugin's instance")?;
        if count == 0 {
            bail!("the plugin server did not start an instance of {}", game.plugin);
        }
        input.extend_from_slice(&chunk[..count]);
        match (wire, wire.hear(&input)?) {
            (Wire::ProtoBuf, Some(_)) => return Ok(u64::from(seq)),
            (Wire::MsgPack, Some((_, Heard::Done(id)))) => return Ok(id),
            (_, Some(_)) => bail!("the plugin server asks before its instance has started"),
            (_, None) => {}
        }
    }
}
