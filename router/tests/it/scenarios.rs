//! The recorded routing scenarios, as far as they show which route is chosen and what becomes
//! of the path.

use std::fs;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_yaml_ng::{Mapping, Value};
use silverback_model::entities::{Protocol, Route, Service};
use silverback_router::{Flavor, Lookup, RouteInput, Router, normalize};
use uuid::Uuid;

#[test]
fn routes_are_chosen_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/scenarios/routing");
    let mut steps = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let scenario = fs::read_to_string(&path).unwrap();
            steps += Gateway::replay(&serde_yaml_ng::from_str(&scenario).unwrap(), &path);
        }
    }
    assert!(steps > 150, "{steps} steps are fewer than were recorded");
}

/// The routes of a scenario, each with its service and the configuration of its plugins.
struct Gateway {
    routes: Vec<(Route, Option<Service>, Value)>,
    router: Router,
}

impl Gateway {
    /// Checks every step, and counts them.
    fn replay(scenario: &Value, path: &Path) -> usize {
        let config = scenario["config"].as_str().unwrap();
        let gateway = Gateway::new(&serde_yaml_ng::from_str(config).unwrap());
        let steps = scenario["steps"].as_sequence().unwrap();
        for step in steps {
            gateway.check(step, &format!("{}: {:?}", path.display(), step["request"]));
        }
        steps.len()
    }

    fn new(config: &Value) -> Gateway {
        let mut routes = Vec::new();
        for value in list(&config["services"]) {
            for route in list(&value["routes"]) {
                routes.push((read_route(route), Some(read_service(value)), route.clone()));
            }
        }
        for route in list(&config["routes"]) {
            routes.push((read_route(route), None, route.clone()));
        }
        let inputs: Vec<_> = routes
            .iter()
            .map(|(route, service, _)| RouteInput { route, service: service.as_ref() })
            .collect();
        let router = Router::build(Flavor::TraditionalCompatible, &inputs).unwrap();
        Gateway { routes, router }
    }

    fn check(&self, step: &Value, what: &str) {
        let (method, target) = step["request"].as_str().unwrap().split_once(' ').unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let expect = &step["expect"];
        let status = expect["status"].as_u64().unwrap();
        if method.chars().any(char::is_lowercase) {
            return; // Refused before there is anything to route.
        }
        let path = match normalize(path) {
            Ok(path) => path,
            Err(_) => return assert_eq!(status, 400, "{what}"),
        };
        let headers = read_headers(&step["headers"]);
        let tls = step["to"] == "proxy_ssl";
        let found = self.router.find(&Lookup {
            method,
            host: headers.get("host").map_or("example.test", |host| host.to_str().unwrap()),
            path: &path,
            query: "",
            headers: &headers,
            scheme: if tls { Protocol::Https } else { Protocol::Http },
            sni: step["sni"].as_str(),
            source: "127.0.0.1:50000".parse().ok(),
            destination: if tls { "127.0.0.1:8443" } else { "127.0.0.1:8000" }.parse().ok(),
        });
        let Some(found) = found else { return assert_eq!(status, 404, "{what}") };
        assert!(status != 404 && status != 400, "{what}: found {found:?}");
        let (route, service, source) = &self.routes[found.route as usize];
        let terminates = expect["json"]["message"].as_str().unwrap_or_default();
        match &expect["upstream_saw"] {
            Value::Null if status == 503 => assert!(service.is_none(), "{what}"),
            Value::Null if [426, 301, 302, 307, 308].contains(&status) => {
                assert_eq!(route.protocols[..], [Protocol::Https], "{what}");
            }
            Value::Null => {
                assert_eq!(source["plugins"][0]["config"]["message"], terminates, "{what}");
            }
            saw => {
                let service = service.as_ref().unwrap();
                let mut upstream = found.upstream_path(&path, service.path.as_deref());
                upstream.extend(query.iter().flat_map(|query| ["?", query]));
                assert_eq!(saw["upstream"], u64::from(service.port), "{what}");
                assert_eq!(saw["target"], *upstream, "{what}");
                // Headers were recorded a byte a character.
                let prefix = found.prefix.map(|p| p.bytes().map(char::from).collect::<String>());
                assert_eq!(saw["headers"]["x-forwarded-prefix"].as_str(), prefix.as_deref());
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_sequence().map_or(&[], Vec::as_slice)
}

fn read_headers(value: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for pair in list(value) {
        let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
        headers.append(name, HeaderValue::from_str(pair[1].as_str().unwrap()).unwrap());
    }
    headers
}

fn read_route(value: &Value) -> Route {
    let defaults = "{strip_path: true, path_handling: v0, protocols: [http, https]}";
    let mut route: Route = serde_yaml_ng::from_value(with_defaults(value, defaults)).unwrap();
    // The ids that a declarative file's routes get, which decide ties
    // (kong/db/schema/others/declarative_config.lua, `generate_uuid`).
    const ENTITIES: Uuid = Uuid::from_u128(0xfd02801f_0957_4a15_a55a_c8d9606f30b5);
    let routes = Uuid::new_v5(&ENTITIES, b"routes");
    route.id = Uuid::new_v5(&routes, route.name.as_deref().unwrap().as_bytes());
    route
}

fn read_service(value: &Value) -> Service {
    let mut value = with_defaults(value, "{enabled: true, port: 80}");
    if let Some(url) = value["url"].as_str().map(str::to_owned) {
        let rest = url.strip_prefix("http://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority.split_once(':').unwrap();
        value["host"] = host.into();
        value["port"] = port.parse::<u16>().unwrap().into();
        value["path"] = if path.is_empty() { Value::Null } else { path.into() };
    }
    serde_yaml_ng::from_value(value).unwrap()
}

/// An entity with the defaults that its schema would fill in.
fn with_defaults(value: &Value, defaults: &str) -> Value {
    let mut filled: Mapping = serde_yaml_ng::from_str(defaults).unwrap();
    filled.extend(value.as_mapping().unwrap().clone());
    Value::Mapping(filled)
}
