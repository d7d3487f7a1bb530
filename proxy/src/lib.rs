//! The data plane: bytes come in, a request goes through its plugins to its upstream, and back.
//!
//! Reading order is that of a request: a [`worker`] has listeners, `listener` accepts, `tls`
//! shakes hands, `http1` reads requests and writes answers, `http` makes an
//! [`Exchange`](silverback_pdk::Exchange) of a request, and `lifecycle` leads it through `route`,
//! `chain`, `balancer` and `upstream` and back. All of it works on a [`Snapshot`]: the
//! configuration, compiled, immutable, replaced whole.
//!
//! Streams (TCP, TLS) take a shorter way of the same shape, through `stream` in the place of `http`
//! and `lifecycle`. UDP and TLS that is passed on unopened are not there yet; neither is HTTP/2,
//! nor gRPC with it.
//!
//! It knows no plugin host and no store: it is given a registry of plugins and snapshots.

mod config;
mod snapshot;

mod handle;
mod worker;

mod listener;
mod tls;

mod http1;

mod http;
mod lifecycle;

mod stream;

mod route;

mod chain;

mod forward;

mod balancer;
mod clock;
mod dns;
mod pool;
mod upkeep;
mod upstream;

mod answer;
mod background;
mod body;

mod logs;
mod stats;

pub use background::give_way;
pub use balancer::Balancer;
pub use config::{
    AddedHeader, Config, Headers, Keepalive, Limits, Listener, RealIp, SoKeepalive, TlsSettings,
    UpstreamTls,
};
pub use dns::{DnsClient, DnsSettings, DnsType};
pub use handle::{DnsFacts, Handle, StartError, start, start_after};
pub use listener::open as open_listener;
pub use logs::{FormatError, LogFormat, LogTarget, Syslog, SyslogError, SyslogSender};
pub use snapshot::{
    CompileError, CompileErrors, Configured, Directory, NoDirectory, Parts, Rebase, Snapshot,
    after_freeing, retire,
};
pub use stats::Stats;
