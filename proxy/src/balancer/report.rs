//! What the Admin API shows of an upstream's health, and what it may say of it
//! (kong/runloop/balancer/healthcheckers.lua, kong/db/dao/targets.lua).

use serde_json::{Map, Value, json};

use super::{
    address::Address,
    place::literal,
    shared::{Balancer, Target},
};

impl Balancer {
    /// The health of each target by its name, "host:port": what `/upstreams/{upstream}/health`
    /// shows as its `data`.
    pub fn targets_health(&self) -> Map<String, Value> {
        let on = self.rules.is_on();
        let word = |target: &Target, healthy: bool| match (on && target.weight > 0, healthy) {
            (false, _) => "HEALTHCHECKS_OFF",
            (true, true) => "HEALTHY",
            (true, false) => "UNHEALTHY",
        };
        let report = |(number, target): (u32, &Target)| {
            let address = |a: &Address| {
                let health = word(target, a.is_available());
                json!({ "ip": a.shown, "port": a.port, "weight": a.weight, "health": health })
            };
            let name = format!("{}:{}", target.host, target.port);
            (name, self.target(number, target, address))
        };
        (0..).zip(&self.targets).map(report).collect()
    }

    /// The health of the whole: what `/upstreams/{upstream}/health?balancer_health=1` shows.
    pub fn health(&self) -> Value {
        let word = if self.is_healthy() { "HEALTHY" } else { "UNHEALTHY" };
        let address = |a: &Address| {
            let healthy = a.is_available();
            json!({ "ip": a.shown, "port": a.port, "weight": a.weight, "healthy": healthy })
        };
        let hosts = (0..).zip(&self.targets).map(|(n, target)| self.target(n, target, address));
        json!({
            "health": if self.rules.is_on() { word } else { "HEALTHCHECKS_OFF" },
            "balancer_health": word,
            "id": self.entity.id,
            "details": {
                "healthy": self.is_healthy(),
                "weight": weights(&self.ring.load().addresses, |_| true),
                "hosts": hosts.collect::<Vec<_>>(),
            },
        })
    }

    fn target(
        &self,
        number: u32,
        target: &Target,
        mut show: impl FnMut(&Address) -> Value,
    ) -> Value {
        let ring = self.ring.load();
        let is_own = |address: &Address| address.target == number;
        let own = ring.addresses.iter().filter(|a| is_own(a));
        json!({
            "host": target.host,
            "port": target.port,
            "dns": self.source(number),
            "nodeWeight": target.weight,
            "weight": weights(&ring.addresses, is_own),
            "addresses": own.map(&mut show).collect::<Vec<_>>(),
        })
    }

    /// Says how the addresses of a target are, or one of them: what
    /// `/upstreams/{upstream}/targets/{target}[/{address}]/(un)healthy` does.
    ///
    /// # Errors
    /// Where health checks are off, in Kong's words.
    pub fn set_health(
        &self,
        target: &str,
        address: Option<&str>,
        healthy: bool,
    ) -> Result<(), String> {
        if !self.rules.is_on() {
            return Err(format!("no healthchecker found for {}", self.entity.name));
        }
        let is_target = |one: &Target| format!("{}:{}", one.host, one.port) == target;
        let address = address.map(split);
        let ring = self.ring.load_full();
        for own in &ring.addresses {
            let of_target = self.targets.get(own.target as usize).is_some_and(is_target);
            let wanted = |(ip, port): &(&str, u16)| {
                let same = literal(ip).is_some_and(|ip| own.ip == Some(ip)) || *own.shown == **ip;
                same && own.port == *port
            };
            if of_target && address.as_ref().is_none_or(wanted) {
                self.set(own, healthy);
            }
        }
        Ok(())
    }
}

/// Weights as Kong sums them up.
fn weights(addresses: &[Address], which: impl Fn(&Address) -> bool) -> Value {
    let sum = |of: &dyn Fn(&&Address) -> bool| -> u64 {
        addresses.iter().filter(|a| which(a)).filter(of).map(|a| u64::from(a.weight)).sum()
    };
    let (total, available) = (sum(&|_| true), sum(&|a| a.is_available()));
    json!({ "total": total, "unavailable": total - available, "available": available })
}

/// An address with its port, which is 8000 where it has none.
fn split(address: &str) -> (&str, u16) {
    let end = address.rfind(']').map_or(0, |end| end + 1);
    let port = address.get(end..).and_then(|rest| rest.rfind(':'));
    match port.and_then(|at| Some((address.get(..end + at)?, address.get(end + at + 1..)?))) {
        Some((ip, port)) => (ip, port.parse().unwrap_or(8000)),
        None => (address, 8000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port() {
        let check = |text, expect| assert_eq!(split(text), expect, "{text}");
        check("10.0.0.1:81", ("10.0.0.1", 81));
        check("10.0.0.1", ("10.0.0.1", 8000));
        check("[::1]:81", ("[::1]", 81));
        check("[::1]", ("[::1]", 8000));
    }
}
