//! What a balancer needs beside requests: its names resolved, its targets asked how they are. Both
//! happen on the upkeep thread, for as long as the balancer is in use.

use std::{
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::spawn_local,
    time::sleep_until,
};

use super::{
    address::Address,
    place::literal,
    probe::{self, Probes},
    shared::{Balancer, Target},
};
use crate::dns::{Records, Resolver, Scope};

/// Names are asked for no more often than that, whatever their time.
const REFRESH_MIN: Duration = Duration::from_millis(500);
/// A name that must not be remembered is resolved for each request; whether that is still so is
/// looked up now and then.
const NEVER_FRESH: Duration = Duration::from_secs(5);
/// How long a task sleeps at the most: it ends when its balancer is gone.
const NAP_MAX: Duration = Duration::from_secs(60);

/// Where new balancers are put down for the upkeep thread. Every snapshot that comes of another has
/// the same one.
pub(crate) struct Registrar {
    sender: UnboundedSender<Weak<Balancer>>,
    receiver: Mutex<Option<UnboundedReceiver<Weak<Balancer>>>>,
}

impl Default for Registrar {
    fn default() -> Registrar {
        let (sender, receiver) = unbounded_channel();
        Registrar { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Registrar {
    /// Puts down a balancer that needs tending.
    pub(crate) fn add(&self, balancer: &Arc<Balancer>) {
        if balancer.has_names() || balancer.rules.asks() {
            // Without an upkeep thread, as where a file is only checked, nobody tends.
            let _ = self.sender.send(Arc::downgrade(balancer));
        }
    }

    /// What is put down; none where it is taken already.
    pub(crate) fn take(&self) -> Option<UnboundedReceiver<Weak<Balancer>>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tends a balancer until it is gone.
pub(crate) fn tend(balancer: &Weak<Balancer>, resolver: &Rc<Resolver>, probes: &Rc<Probes>) {
    let Some(strong) = balancer.upgrade() else { return };
    for (number, target) in (0..).zip(&strong.targets) {
        if target.is_name() {
            spawn_local(resolve(balancer.clone(), number, target.clone(), resolver.clone()));
        }
    }
    if strong.rules.asks() {
        probe::watch(balancer, probes);
    }
}

/// Keeps the addresses of a target as DNS has them.
async fn resolve(balancer: Weak<Balancer>, number: u32, target: Target, resolver: Rc<Resolver>) {
    loop {
        let answer = resolver.get(&target.host, Scope::Any).await;
        let Some(strong) = balancer.upgrade() else { return };
        let use_srv_name = strong.entity.use_srv_name.unwrap_or(false);
        let now = Instant::now();
        let (mut until, never_fresh) = (answer.until, answer.never_fresh && answer.outcome.is_ok());
        match &answer.outcome {
            Ok(_) if never_fresh => {
                let (host, weight) = (&target.host, target.weight.into());
                let itself = Address::new(number, host, host, target.port, weight);
                strong.resolved(number, vec![itself], "ttl=0, virtual SRV");
                until = now + NEVER_FRESH;
            }
            Ok(records) => {
                let addresses = addresses(number, &target, records, use_srv_name);
                strong.resolved(number, addresses, records.kind().as_str());
            }
            Err(failure) => strong.resolved(number, Vec::new(), &failure.text),
        }
        drop(strong);
        let until = until.clamp(now + REFRESH_MIN, now + NAP_MAX);
        sleep_until(until.into()).await;
    }
}

/// What a name stands for: each address has the target's weight, each service its own
/// (kong/runloop/balancer/balancers.lua, `addAddress`).
fn addresses(number: u32, target: &Target, records: &Records, srv_name: bool) -> Vec<Address> {
    let weight = u32::from(target.weight);
    let mut addresses: Vec<Address> = match records {
        Records::Addresses(ips) => {
            let shown = ips.iter().map(|ip| match ip.is_ipv6() {
                true => format!("[{ip}]"),
                false => ip.to_string(),
            });
            let address =
                |shown: String| Address::new(number, &target.host, &shown, target.port, weight);
            shown.map(address).collect()
        }
        Records::Services(services) => {
            let address = |service: &crate::dns::Service| {
                let port = if service.port == 0 { target.port } else { service.port };
                // A service without weight is chosen as seldom as can be.
                let weight = if weight == 0 { 0 } else { u32::from(service.weight).max(1) };
                let is_name = literal(&service.host).is_none();
                let host = if srv_name && is_name { &*service.host } else { &target.host };
                Address::new(number, host, &service.host, port, weight)
            };
            services.iter().map(address).collect()
        }
    };
    addresses.sort_by(|a, b| (&a.shown, a.port).cmp(&(&b.shown, b.port)));
    addresses.dedup_by(|a, b| a.shown == b.shown && a.port == b.port);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Service;

    fn check(records: &Records, weight: u16, srv_name: bool, expect: &[(&str, u16, u32, &str)]) {
        let target = Target { host: "a.test".to_owned(), port: 80, weight };
        let addresses = addresses(0, &target, records, srv_name);
        let seen = addresses.iter().map(|a| (&*a.shown, a.port, a.weight, &*a.host));
        assert_eq!(seen.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn addresses_have_the_weight_of_their_target() {
        let ips = ["10.0.0.2", "10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().expect("an address"));
        let records = Records::Addresses(ips.into());
        let expect = [("10.0.0.1", 80, 7, "a.test"), ("10.0.0.2", 80, 7, "a.test")];
        check(&records, 7, false, &expect);
        let six = Records::Addresses(["::1".parse().expect("an address")].into());
        check(&six, 7, false, &[("[::1]", 80, 7, "a.test")]);
    }

    #[test]
    fn services_have_weights_of_their_own() {
        let service = |host: &str, port, weight| Service { host: host.into(), port, weight };
        let records =
            Records::Services([service("b.test", 81, 5), service("10.0.0.1", 0, 0)].into());
        let ip = ("10.0.0.1", 80, 1, "a.test");
        check(&records, 7, false, &[ip, ("b.test", 81, 5, "a.test")]);
        check(&records, 7, true, &[ip, ("b.test", 81, 5, "b.test")]);
        let none = ("10.0.0.1", 80, 0, "a.test");
        check(&records, 0, false, &[none, ("b.test", 81, 0, "a.test")]);
    }
}
