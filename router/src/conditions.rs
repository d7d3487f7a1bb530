//! What a route demands of a request besides its path.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};
use silverback_model::entities::{Endpoint, Protocol, Route};

use crate::hosts::{Bucket, Host, HostPattern, NamePattern};
use crate::lookup::Lookup;
use crate::order;
use crate::router::{Flavor, Problem};
use crate::schemes::Schemes;

/// What a route demands of a request besides its path. An empty list demands nothing.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    methods: Box<[Box<str>]>,
    hosts: Box<[HostPattern]>,
    /// Whether hosts must be looked at: the index alone does not tell.
    check_hosts: bool,
    headers: Box<[HeaderCondition]>,
    snis: Box<[NamePattern]>,
    sources: Box<[EndpointPattern]>,
    destinations: Box<[EndpointPattern]>,
    schemes: Schemes,
}

/// A look-up with what is worked out of it once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) lookup: &'a Lookup<'a>,
    pub(crate) host: Host<'a>,
    flavor: Flavor,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(lookup: &'a Lookup<'a>, flavor: Flavor) -> Subject<'a> {
        Subject { lookup, host: Host::parse(lookup.host), flavor }
    }

    /// The port that a host pattern is compared with: the one in the Host header, or else the
    /// one that goes without saying.
    fn port_for(&self, pattern: &HostPattern) -> Option<u64> {
        self.host.port.or_else(|| match self.flavor {
            Flavor::TraditionalCompatible | Flavor::Expressions => {
                self.lookup.destination.map(|d| d.port().into())
            }
            Flavor::Traditional if pattern.wants_explicit_port() => None,
            Flavor::Traditional => Some(if self.lookup.scheme.is_tls() { 443 } else { 80 }),
        })
    }
}

impl Conditions {
    /// Compiles a route's conditions, noting what is wrong with them in `problems`. Routes that
    /// have none share theirs.
    pub(crate) fn compile(
        route: &Route,
        flavor: Flavor,
        problems: &mut Vec<Problem>,
    ) -> Arc<Conditions> {
        static NONE: LazyLock<Arc<Conditions>> = LazyLock::new(Arc::default);
        let schemes = Schemes::of(route, flavor);
        let others = order::count_conditions(route) - i64::from(!route.paths.is_empty());
        if others == 0 && schemes.is_empty() {
            return Arc::clone(&NONE);
        }
        let hosts: Box<[_]> = route.hosts.iter().map(|host| HostPattern::parse(host)).collect();
        let headers = route.headers.iter();
        let headers =
            headers.filter_map(|(n, v)| HeaderCondition::compile(n, v, flavor, problems)).collect();
        Arc::new(Conditions {
            methods: route.methods.iter().map(|method| method.as_str().into()).collect(),
            check_hosts: !hosts.iter().all(HostPattern::is_indexed),
            hosts,
            headers,
            snis: route.snis.iter().map(|sni| sni_pattern(sni, flavor)).collect(),
            sources: EndpointPattern::compile_all(&route.sources, problems),
            destinations: EndpointPattern::compile_all(&route.destinations, problems),
            schemes,
        })
    }

    /// The buckets of the index under which the route is found.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = Bucket<'_>> {
        let any = self.hosts.is_empty().then_some(Bucket::Any);
        self.hosts.iter().map(|host| host.name.bucket()).chain(any)
    }

    /// Whether the request meets them all, given that it came through a bucket of the index.
    pub(crate) fn hold(&self, subject: &Subject<'_>) -> bool {
        let lookup = subject.lookup;
        self.method_holds(lookup.method)
            && self.hosts_hold(subject)
            && self.sni_holds(lookup.scheme, lookup.sni)
            && self.headers.iter().all(|header| header.holds(lookup.headers))
            && any_endpoint_holds(&self.sources, lookup.source)
            && any_endpoint_holds(&self.destinations, subject.destination())
            && self.schemes.hold(lookup.scheme)
    }

    fn method_holds(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|own| **own == *method)
    }

    fn hosts_hold(&self, subject: &Subject<'_>) -> bool {
        let name = subject.host.name;
        let holds = |host: &HostPattern| host.matches(name, subject.port_for(host));
        !self.check_hosts || self.hosts.iter().any(holds)
    }

    /// Server names bind only where there can be one: over plain HTTP or TCP any will do.
    fn sni_holds(&self, scheme: Protocol, sni: Option<&str>) -> bool {
        let holds = |sni| self.snis.iter().any(|own| own.matches(sni));
        self.snis.is_empty() || !scheme.is_tls() || sni.is_some_and(holds)
    }
}

impl Subject<'_> {
    /// Where the connection came in, the port being the Host header's if it names one
    /// (kong/router/fields.lua, `net.dst.port`).
    fn destination(&self) -> Option<SocketAddr> {
        let mut destination = self.lookup.destination?;
        if let Some(port) = self.host.port.and_then(|port| u16::try_from(port).ok()) {
            destination.set_port(port);
        }
        Some(destination)
    }
}

/// The pattern of a server name. A final dot does not count; wildcards are known to
/// `traditional_compatible` only (kong/router/transform.lua, `sni_val_transform`).
fn sni_pattern(sni: &str, flavor: Flavor) -> NamePattern {
    let sni = sni.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(sni);
    match flavor {
        Flavor::Traditional => NamePattern::Exact(sni.into()),
        Flavor::TraditionalCompatible | Flavor::Expressions => NamePattern::parse(sni),
    }
}

/// A header that must be there with one of these values.
#[derive(Debug)]
struct HeaderCondition {
    name: HeaderName,
    values: Box<[ValuePattern]>,
}

/// A value of a header. Case does not matter.
#[derive(Debug)]
enum ValuePattern {
    Exact(Box<str>),
    Regex(Regex),
}

impl HeaderCondition {
    fn compile(
        name: &str,
        values: &[String],
        flavor: Flavor,
        problems: &mut Vec<Problem>,
    ) -> Option<HeaderCondition> {
        // The flavour `traditional` takes a value for a regex only where it is the only one.
        let regexes = flavor != Flavor::Traditional || values.len() == 1;
        let mut patterns = Vec::with_capacity(values.len());
        for value in values {
            match value.strip_prefix("~*").filter(|_| regexes) {
                None => patterns.push(ValuePattern::Exact(value.as_str().into())),
                Some(pattern) => match header_regex(pattern) {
                    Ok(regex) => patterns.push(ValuePattern::Regex(regex)),
                    Err(problem) => problems.push(problem),
                },
            }
        }
        let Ok(name) = name.parse() else {
            problems.push(Problem::HeaderName { name: name.to_owned() });
            return None;
        };
        Some(HeaderCondition { name, values: patterns.into() })
    }

    fn holds(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| {
            let value = value.as_bytes();
            self.values.iter().any(|pattern| match pattern {
                ValuePattern::Exact(text) => text.as_bytes().eq_ignore_ascii_case(value),
                ValuePattern::Regex(regex) => regex.is_match(value),
            })
        })
    }
}

fn header_regex(pattern: &str) -> Result<Regex, Problem> {
    let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
    regex.map_err(|error| Problem::Regex {
        pattern: format!("~*{pattern}"),
        reason: error.to_string(),
    })
}

/// One end of a connection.
#[derive(Debug)]
struct EndpointPattern {
    ip: Option<IpNet>,
    port: Option<u16>,
}

impl EndpointPattern {
    fn compile_all(endpoints: &[Endpoint], problems: &mut Vec<Problem>) -> Box<[EndpointPattern]> {
        let compile = |endpoint: &Endpoint| {
            let ip = endpoint.ip.as_deref().map(parse_net).transpose();
            match ip {
                Ok(ip) => Some(EndpointPattern { ip, port: endpoint.port }),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            }
        };
        endpoints.iter().filter_map(compile).collect()
    }

    fn holds(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.ip.is_none_or(|net| net.contains(&ip)) && self.port.is_none_or(|p| p == address.port())
    }
}

fn any_endpoint_holds(patterns: &[EndpointPattern], address: Option<SocketAddr>) -> bool {
    let holds = |address| patterns.iter().any(|pattern| pattern.holds(address));
    patterns.is_empty() || address.is_some_and(holds)
}

/// An address or a range of addresses.
fn parse_net(text: &str) -> Result<IpNet, Problem> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map_err(|_| Problem::Address { text: text.to_owned() })
}
