//! Names of hosts to addresses, by the system's resolver, remembered for a while. An address that
//! is past its time is still used while a new one is looked up.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    time::{Duration, Instant},
};

/// How long it is remembered that a name has no address.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);
/// How many names are remembered.
const NAMES_MAX: usize = 10_000;

/// What a worker remembers of names.
pub(crate) struct Dns {
    ttl: Duration,
    known: RefCell<HashMap<Rc<str>, Known>>,
}

struct Known {
    /// Empty where the name has none.
    addresses: Rc<[IpAddr]>,
    until: Instant,
    next: usize,
    asked: bool,
}

impl Dns {
    pub(crate) fn new(ttl: Duration) -> Dns {
        Dns { ttl, known: RefCell::default() }
    }

    /// An address of the name, its addresses by turns. None if it has none.
    pub(crate) async fn resolve(self: &Rc<Dns>, name: &str) -> Option<IpAddr> {
        if let Some(known) = self.remembered(name) {
            return known;
        }
        self.ask(name.into()).await;
        self.remembered(name).flatten()
    }

    fn remembered(self: &Rc<Dns>, name: &str) -> Option<Option<IpAddr>> {
        let mut names = self.known.borrow_mut();
        let (key, known) =
            names.get_key_value(name).map(|(key, _)| key.clone()).and_then(|key| {
                let known = names.get_mut(&key)?;
                Some((key, known))
            })?;
        let stale = known.until <= Instant::now();
        if stale && known.addresses.is_empty() {
            return None;
        }
        if stale && !known.asked {
            known.asked = true;
            let dns = self.clone();
            tokio::task::spawn_local(async move { dns.ask(key).await });
        }
        known.next = known.next.wrapping_add(1);
        let turn = known.next.checked_rem(known.addresses.len()).unwrap_or(0);
        Some(known.addresses.get(turn).copied())
    }

    async fn ask(&self, name: Rc<str>) {
        // On a thread for what blocks: never on the worker.
        let found = tokio::net::lookup_host((&*name, 0)).await;
        let all: Vec<_> = found.map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default();
        let v4: Vec<_> = all.iter().copied().filter(IpAddr::is_ipv4).collect();
        // Kong's default dns_order asks for A, not AAAA.
        let addresses: Rc<[IpAddr]> = if v4.is_empty() { all.into() } else { v4.into() };
        let mut names = self.known.borrow_mut();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        let ttl = if addresses.is_empty() { NEGATIVE_TTL } else { self.ttl };
        let until = Instant::now() + ttl;
        match names.get_mut(&name) {
            // A resolver that fails for once does not take away what was known.
            Some(known) if addresses.is_empty() && !known.addresses.is_empty() => {
                (known.until, known.asked) = (until, false);
            }
            _ => {
                names.insert(name, Known { addresses, until, next: 0, asked: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn names_are_resolved_once() {
        let local = tokio::task::LocalSet::new();
        let test = async {
            let dns = Rc::new(Dns::new(Duration::from_secs(60)));
            assert_eq!(dns.resolve("localhost").await, Some([127, 0, 0, 1].into()));
            assert_eq!(dns.remembered("localhost"), Some(Some([127, 0, 0, 1].into())));
            assert_eq!(dns.resolve("no-such-name.invalid").await, None);
            assert_eq!(dns.remembered("no-such-name.invalid"), Some(None));
        };
        local.run_until(test).await;
    }
}
