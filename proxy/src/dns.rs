//! Names of hosts to addresses.
//!
//! A worker remembers what it has asked for ([`Dns`]): a request finds it there without a lock.
//! Behind all workers stands one [`Resolver`], which asks name servers, and each name once. What is
//! past its time serves on while it is asked for again, as long as `stale_ttl` says.

mod answer;
mod facts;
mod files;
mod resolver;
mod settings;
mod wire;

use std::{
    cell::RefCell,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
};

pub use self::settings::{DnsClient, DnsSettings, DnsType};
use self::{answer::Answer, facts::Hits};
pub(crate) use self::{
    answer::{Failure, Records, Service},
    facts::Facts,
    resolver::Resolver,
};
use crate::balancer::literal;

/// What of a name is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Whatever it stands for.
    Any,
    /// Addresses only: it is the host of a service.
    Addresses,
}

/// A question of a worker.
pub(crate) struct Ask {
    pub(crate) name: Box<str>,
    pub(crate) scope: Scope,
    pub(crate) reply: oneshot::Sender<Arc<Answer>>,
}

/// What a worker remembers of names.
pub(crate) struct Dns {
    asks: mpsc::UnboundedSender<Ask>,
    facts: Arc<Facts>,
    names_max: usize,
    /// By what is wanted of them.
    known: [RefCell<HashMap<Rc<str>, Known>>; 2],
}

struct Known {
    answer: Arc<Answer>,
    hits: Arc<Hits>,
    /// The address whose turn it is.
    turn: usize,
    /// How far each service is from its turn (nginx's smooth weighted round-robin).
    credits: Box<[i64]>,
    /// Whether it is being asked for again.
    refreshing: bool,
}

/// One of the things that a name stands for.
enum Picked {
    Address(IpAddr),
    Service { host: Rc<str>, port: u16 },
}

impl Dns {
    pub(crate) fn new(
        asks: mpsc::UnboundedSender<Ask>,
        facts: Arc<Facts>,
        names_max: usize,
    ) -> Dns {
        Dns { asks, facts, names_max: names_max.max(1), known: Default::default() }
    }

    /// An address of the name, its addresses by turns; the port is the given one unless DNS says
    /// otherwise.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) async fn resolve(
        self: &Rc<Dns>,
        name: &str,
        port: u16,
    ) -> Result<SocketAddr, Failure> {
        let (host, port) = match self.pick(name, Scope::Any).await? {
            Picked::Address(ip) => return Ok(SocketAddr::new(ip, port)),
            Picked::Service { host, port: 0 } => (host, port),
            Picked::Service { host, port } => (host, port),
        };
        if let Some(ip) = literal(&host) {
            return Ok(SocketAddr::new(ip, port));
        }
        match self.pick(&host, Scope::Addresses).await? {
            Picked::Address(ip) => Ok(SocketAddr::new(ip, port)),
            Picked::Service { .. } => Err(Failure::error("recursion detected".to_owned())),
        }
    }

    async fn pick(self: &Rc<Dns>, name: &str, scope: Scope) -> Result<Picked, Failure> {
        if let Some(picked) = self.remembered(name, scope) {
            return picked;
        }
        let lower = name.to_lowercase();
        if lower != name
            && let Some(picked) = self.remembered(&lower, scope)
        {
            return picked;
        }
        self.ask(lower.clone().into(), scope).await?;
        self.count_miss(&lower, scope);
        // Forgotten at once only where nothing is remembered at all.
        let gone = || Err(Failure::error("dns client error: forgotten".to_owned()));
        self.pick_known(&lower, scope).unwrap_or_else(gone)
    }

    /// What is remembered, if that still serves.
    fn remembered(self: &Rc<Dns>, name: &str, scope: Scope) -> Option<Result<Picked, Failure>> {
        let now = Instant::now();
        let refresh = {
            let mut names = self.names(scope).borrow_mut();
            let known = names.get_mut(name)?;
            let fresh = known.answer.is_fresh(now);
            if !fresh && !known.answer.serves(now) {
                return None;
            }
            known.hits.up(fresh);
            !fresh && !std::mem::replace(&mut known.refreshing, true)
        };
        if refresh {
            let (dns, name) = (self.clone(), Rc::from(name));
            spawn_local(async move {
                // What it was serves on if that fails; the resolver sees to it.
                let _ = dns.ask(name, scope).await;
            });
        }
        self.pick_known(name, scope)
    }

    fn pick_known(&self, name: &str, scope: Scope) -> Option<Result<Picked, Failure>> {
        let mut names = self.names(scope).borrow_mut();
        Some(names.get_mut(name)?.pick())
    }

    fn count_miss(&self, name: &str, scope: Scope) {
        let names = self.names(scope).borrow();
        let Some(known) = names.get(name) else { return };
        let key = known.key(name);
        self.facts.up(&key, "runs");
        self.facts.up(&key, "miss");
    }

    /// Asks the resolver and remembers what it says.
    async fn ask(&self, name: Rc<str>, scope: Scope) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        let gone = || Failure::error("dns client error: the resolver has ended".to_owned());
        let ask = Ask { name: (&*name).into(), scope, reply };
        self.asks.send(ask).map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone())?;
        let mut names = self.names(scope).borrow_mut();
        if let Some(known) = names.get_mut(&name) {
            known.replace(answer);
            return Ok(());
        }
        if names.len() >= self.names_max {
            names.clear();
        }
        let mut known = Known::new(answer);
        known.hits = self.facts.hits(&known.key(&name));
        names.insert(name, known);
        Ok(())
    }

    fn names(&self, scope: Scope) -> &RefCell<HashMap<Rc<str>, Known>> {
        let [any, addresses] = &self.known;
        match scope {
            Scope::Any => any,
            Scope::Addresses => addresses,
        }
    }
}

impl Known {
    fn new(answer: Arc<Answer>) -> Known {
        let hits = Arc::default();
        let mut known = Known {
            answer: answer.clone(),
            hits,
            turn: 0,
            credits: Box::default(),
            refreshing: false,
        };
        known.replace(answer);
        known
    }

    /// How it is counted, as Kong names it.
    fn key(&self, name: &str) -> String {
        let service = matches!(self.answer.outcome, Ok(Records::Services(_)));
        format!("{name}|{}", if service { "SRV" } else { "A/AAAA" })
    }

    fn replace(&mut self, answer: Arc<Answer>) {
        let services = match &answer.outcome {
            Ok(Records::Services(all)) => all.len(),
            _ => 0,
        };
        if self.credits.len() != services {
            self.credits = vec![0; services].into();
        }
        self.answer = answer;
        self.refreshing = false;
    }

    fn pick(&mut self) -> Result<Picked, Failure> {
        let nothing = Failure::empty;
        match &self.answer.outcome {
            Err(failure) => Err(failure.clone()),
            Ok(Records::Addresses(ips)) => {
                let turn = self.turn.checked_rem(ips.len()).unwrap_or(0);
                self.turn = turn + 1;
                ips.get(turn).copied().map(Picked::Address).ok_or_else(nothing)
            }
            Ok(Records::Services(all)) => {
                let weights =
                    || all.iter().map(|s| if s.weight == 0 { 1 } else { i64::from(s.weight) * 10 });
                for (credit, weight) in self.credits.iter_mut().zip(weights()) {
                    *credit += weight;
                }
                let credits = self.credits.iter_mut().enumerate();
                // Of equals the first: max_by_key would take the last.
                let best = credits.reduce(|best, one| if *one.1 > *best.1 { one } else { best });
                let (at, credit) = best.ok_or_else(nothing)?;
                *credit -= weights().sum::<i64>();
                let service = all.get(at).ok_or_else(nothing)?;
                Ok(Picked::Service { host: (&*service.host).into(), port: service.port })
            }
        }
    }
}
