//! The moments of a request's life at which plugins run.

use std::fmt;

/// A moment of an exchange's life. The order is that of a request.
///
/// Names and meaning are Kong's (`kong/pdk/private/phases.lua`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Once on each worker when it starts.
    InitWorker,
    /// After each configuration change, with all configurations of the plugin.
    Configure,
    /// During the TLS handshake, before the certificate is chosen.
    Certificate,
    /// Before routing; global plugins only.
    Rewrite,
    /// After routing, before the upstream is asked.
    Access,
    /// While a target is chosen, once per try.
    Balancer,
    /// With the whole buffered answer of the upstream at hand.
    Response,
    /// When the answer's head is known and not yet sent.
    HeaderFilter,
    /// For each piece of the answer's body.
    BodyFilter,
    /// After the last byte of the answer.
    Log,
    /// For a stream, before anything of it is proxied.
    Preread,
    /// Inside a handler of the Admin API.
    AdminApi,
    /// Inside a timer, which outlives the request that started it.
    Timer,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 13] = [
        Phase::InitWorker,
        Phase::Configure,
        Phase::Certificate,
        Phase::Rewrite,
        Phase::Access,
        Phase::Balancer,
        Phase::Response,
        Phase::HeaderFilter,
        Phase::BodyFilter,
        Phase::Log,
        Phase::Preread,
        Phase::AdminApi,
        Phase::Timer,
    ];

    /// The name that plugins and plugin servers use for it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::InitWorker => "init_worker",
            Phase::Configure => "configure",
            Phase::Certificate => "certificate",
            Phase::Rewrite => "rewrite",
            Phase::Access => "access",
            Phase::Balancer => "balancer",
            Phase::Response => "response",
            Phase::HeaderFilter => "header_filter",
            Phase::BodyFilter => "body_filter",
            Phase::Log => "log",
            Phase::Preread => "preread",
            Phase::AdminApi => "admin_api",
            Phase::Timer => "timer",
        }
    }

    /// The phase of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|p| p.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhaseSet(u16);

impl PhaseSet {
    /// No phase.
    pub const NONE: PhaseSet = PhaseSet(0);
    /// Every phase.
    pub const ANY: PhaseSet = PhaseSet((1 << Phase::ALL.len()) - 1);

    /// The set of these phases.
    pub const fn of(phases: &[Phase]) -> PhaseSet {
        let mut bits = 0;
        let mut i = 0;
        while i < phases.len() {
            bits |= 1 << phases[i] as u16;
            i += 1;
        }
        PhaseSet(bits)
    }

    /// Whether the phase is in the set.
    pub const fn contains(self, phase: Phase) -> bool {
        self.0 & (1 << phase as u16) != 0
    }

    /// The set with this phase added.
    #[must_use]
    pub const fn with(self, phase: Phase) -> PhaseSet {
        PhaseSet(self.0 | (1 << phase as u16))
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: PhaseSet) -> PhaseSet {
        PhaseSet(self.0 | other.0)
    }

    /// The phases in it, in order.
    pub fn iter(self) -> impl Iterator<Item = Phase> {
        Phase::ALL.into_iter().filter(move |&p| self.contains(p))
    }
}

impl fmt::Display for PhaseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, phase) in self.iter().enumerate() {
            write!(f, "{}{phase}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_lists_its_phases_in_order() {
        let set = PhaseSet::of(&[Phase::Log, Phase::Access]);
        assert_eq!(set.to_string(), "access, log");
        assert!(set.contains(Phase::Log) && !set.contains(Phase::Rewrite));
        assert_eq!(PhaseSet::ANY.iter().count(), Phase::ALL.len());
    }

    #[test]
    fn names_are_unique_and_found_again() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_name(phase.name()), Some(phase));
        }
    }
}
