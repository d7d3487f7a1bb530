//! The schemes that a route demands of requests and connections.

use silverback_model::entities::{Protocol, Route};

use crate::router::Flavor;

/// A set of schemes; the empty one demands nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Schemes(u16);

impl Schemes {
    /// What a route demands: in the flavour `expressions`, the schemes of its protocols. Where TLS
    /// is the only one, the answer to a request without it is a redirect or 426, so that the route
    /// has to be found; and the other flavours look at protocols only then.
    ///
    /// In Kong the demand is appended to the text of an expression: since `||` binds tighter than
    /// `&&` there, it is made whatever the expression is.
    pub(crate) fn of(route: &Route, flavor: Flavor) -> Schemes {
        let secure = matches!(
            *route.protocols,
            [Protocol::Https | Protocol::Tls | Protocol::TlsPassthrough]
        );
        if flavor != Flavor::Expressions || secure {
            return Schemes::default();
        }
        let bits = route.protocols.iter().map(|protocol| bit(scheme(*protocol)));
        Schemes(bits.fold(0, |all, bit| all | bit))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn hold(self, scheme: Protocol) -> bool {
        self.is_empty() || self.0 & bit(scheme) != 0
    }
}

fn bit(scheme: Protocol) -> u16 {
    1 << scheme as u16
}

/// The scheme that requests of a protocol have.
fn scheme(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::Grpc => Protocol::Http,
        Protocol::Grpcs => Protocol::Https,
        Protocol::TlsPassthrough => Protocol::Tcp,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use silverback_model::entities::Set;

    use super::*;

    #[test]
    fn routes_demand_the_schemes_of_their_protocols() {
        use Protocol::*;
        let check = |protocols: &[Protocol], flavor, expect: &[Protocol]| {
            let route = Route { protocols: Set(protocols.to_vec()), ..Route::default() };
            let schemes = Schemes::of(&route, flavor);
            let held: Vec<_> = Protocol::ALL.into_iter().filter(|p| schemes.hold(*p)).collect();
            assert_eq!(held, expect, "{protocols:?} {flavor:?}");
        };
        check(&[Http], Flavor::Expressions, &[Http]);
        check(&[Grpc, Grpcs], Flavor::Expressions, &[Http, Https]);
        check(&[Tcp, Tls], Flavor::Expressions, &[Tcp, Tls]);
        check(&[Https], Flavor::Expressions, &Protocol::ALL);
        check(&[Http], Flavor::TraditionalCompatible, &Protocol::ALL);
        check(&[], Flavor::Expressions, &Protocol::ALL);
    }
}
