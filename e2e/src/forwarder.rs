//! A way to a server that can be cut, made slow, or led to another server, as networks do and
//! virtual addresses of clusters.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Forwards connections to a port of the loopback address. Dropping it cuts them.
pub struct Forwarder {
    port: u16,
    way: Arc<Way>,
}

struct Way {
    target: AtomicU16,
    is_open: AtomicBool,
    is_gone: AtomicBool,
    delay_millis: AtomicU64,
    /// Both ends of what is connected.
    ends: Mutex<Vec<TcpStream>>,
}

impl Forwarder {
    /// A way to this port.
    pub fn to(target: u16) -> Forwarder {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Way {
            target: AtomicU16::new(target),
            is_open: AtomicBool::new(true),
            is_gone: AtomicBool::new(false),
            delay_millis: AtomicU64::new(0),
            ends: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.is_gone.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    accepting.connect(client);
                }
            }
        });
        Forwarder { port, way }
    }

    /// The port that leads there.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection; new ones are closed at once, until [`Forwarder::mend`].
    pub fn cut(&self) {
        self.way.is_open.store(false, Ordering::SeqCst);
        self.way.close();
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.way.is_open.store(true, Ordering::SeqCst);
    }

    /// Cuts every connection and leads new ones to another port.
    pub fn switch(&self, target: u16) {
        self.way.target.store(target, Ordering::SeqCst);
        self.way.close();
    }

    /// Holds everything that is sent back for this long, each way.
    pub fn delay(&self, time: Duration) {
        self.way.delay_millis.store(time.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.way.is_gone.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes who accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Way {
    /// Joins a client with the server, or closes it where there is no way.
    fn connect(self: &Arc<Way>, client: TcpStream) {
        let mut ends = self.ends();
        if !self.is_open.load(Ordering::SeqCst) {
            return;
        }
        let target = self.target.load(Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let _ = from.set_nodelay(true);
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            let way = Arc::clone(self);
            thread::spawn(move || way.carry(from, to));
        }
        ends.retain(|end| end.peer_addr().is_ok());
        ends.extend([client, server]);
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            thread::sleep(Duration::from_millis(self.delay_millis.load(Ordering::SeqCst)));
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn close(&self) {
        for end in self.ends().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn ends(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.ends.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}
