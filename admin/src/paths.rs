//! The table of paths, made from the schemas: what the Admin API has, in one list
//! (`kong/api/endpoints.lua`, `kong/api/init.lua`).

use std::sync::Arc;

use http::{
    Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_REQUEST_HEADERS,
        ALLOW,
    },
};
use silverback_model::schema::Schema;
use silverback_pdk::AddedPath;

use crate::{
    Answer, Request, Service, added, arguments::ARGUMENTS_MAX, call::Call, collection, routes,
};

/// A path and what stands behind it.
pub(crate) struct Path {
    /// As `/endpoints` shows it: `/services/{services}/routes`.
    pub(crate) pattern: String,
    segments: Vec<Segment>,
    /// What answers.
    pub(crate) endpoint: Endpoint,
}

enum Segment {
    Literal(String),
    Parameter,
}

/// What stands behind a path.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// All entities of a kind: `/routes`.
    Collection(Arc<Schema>),
    /// One entity: `/routes/{routes}`.
    Entity(Arc<Schema>),
    /// The entity that a foreign field names: `/routes/{routes}/service`.
    Foreign(Relation),
    /// The entities that name an entity: `/services/{services}/routes`.
    Nested(Relation),
    /// One of them: `/services/{services}/routes/{routes}`.
    NestedEntity(Relation),
    /// What only this path does.
    Own(&'static routes::Own),
    /// What a plugin does, by the number of its path.
    Added(usize, Vec<Method>),
    /// What has the methods of another, and answers all of them alike.
    Closed(Box<Endpoint>, fn() -> Answer),
}

/// A foreign field: which entity it stands in, and which it names.
#[derive(Clone)]
pub(crate) struct Relation {
    /// The kind that has the field.
    pub(crate) child: Arc<Schema>,
    /// The field.
    pub(crate) field: String,
    /// The kind that it names.
    pub(crate) parent: Arc<Schema>,
}

impl Relation {
    /// What the child's collection is called below the parent.
    pub(crate) fn nested_name(&self) -> &str {
        let name = self.child.admin_api_nested_name.as_deref();
        name.unwrap_or_else(|| self.child.collection())
    }
}

impl Path {
    fn new(pattern: String, endpoint: Endpoint) -> Path {
        let segments =
            pattern
                .split('/')
                .filter(|s| !s.is_empty())
                .map(|s| {
                    if s.starts_with('{') { Segment::Parameter } else { Segment::Literal(s.into()) }
                })
                .collect();
        Path { pattern, segments, endpoint }
    }

    /// The parameters of a path that fits, in order.
    fn fit(&self, segments: &[String]) -> Option<Vec<String>> {
        if segments.len() != self.segments.len() {
            return None;
        }
        let mut parameters = Vec::new();
        for (own, given) in self.segments.iter().zip(segments) {
            match own {
                Segment::Literal(literal) if literal == given => {}
                Segment::Literal(_) => return None,
                Segment::Parameter => parameters.push(given.clone()),
            }
        }
        Some(parameters)
    }
}

/// Every path there is, sorted by pattern; a literal comes before a parameter.
/// What plugins add stands before what is generated.
pub(crate) fn table(schemas: &[Arc<Schema>], added: &[AddedPath]) -> Vec<Path> {
    let mut paths: Vec<Path> =
        routes::ALL.iter().map(|own| Path::new(own.path.to_owned(), Endpoint::Own(own))).collect();
    for (number, path) in added.iter().enumerate() {
        if !paths.iter().any(|known| known.pattern == path.pattern) {
            let endpoint = Endpoint::Added(number, path.methods.clone());
            paths.push(Path::new(path.pattern.clone(), endpoint));
        }
    }
    for schema in schemas.iter().filter(|s| s.generate_admin_api) {
        for mut path in generated(schema, schemas) {
            if paths.iter().any(|p| p.pattern == path.pattern) {
                continue;
            }
            if let Some(why) = closed(&path.pattern) {
                path.endpoint = Endpoint::Closed(Box::new(path.endpoint), why);
            }
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    paths
}

/// The paths of the Status API.
pub(crate) fn status_table(without_database: bool) -> Vec<Path> {
    let more = if without_database { routes::STATUS_WITHOUT_DATABASE } else { &[] };
    let all = routes::STATUS.iter().chain(more);
    all.map(|own| Path::new(own.path.to_owned(), Endpoint::Own(own))).collect()
}

/// What paths answer that the schemas have and Kong does not serve (`kong/api/routes/targets.lua`,
/// `snis.lua`, `filter_chains.lua`).
fn closed(pattern: &str) -> Option<fn() -> Answer> {
    let first = pattern.split('/').nth(1);
    if first == Some("targets") || pattern == "/snis/{snis}/certificate" {
        return Some(Answer::not_found);
    }
    pattern.contains("/filter-chains").then_some(routes::without_wasm)
}

/// The paths that every entity has.
fn generated(schema: &Arc<Schema>, schemas: &[Arc<Schema>]) -> Vec<Path> {
    let (name, own) = (&schema.name, schema.collection());
    let mut paths = vec![
        Path::new(format!("/{own}"), Endpoint::Collection(Arc::clone(schema))),
        Path::new(format!("/{own}/{{{name}}}"), Endpoint::Entity(Arc::clone(schema))),
    ];
    for (field, reference, _) in schema.foreign_fields() {
        let Some(parent) = schemas.iter().find(|s| s.name == reference) else { continue };
        let relation = Relation {
            child: Arc::clone(schema),
            field: field.to_owned(),
            parent: Arc::clone(parent),
        };
        let nested = relation.nested_name();
        let below = format!("/{}/{{{}}}/{nested}", parent.collection(), parent.name);
        let foreign = format!("/{own}/{{{name}}}/{field}");
        let one = format!("{below}/{{{name}}}");
        paths.push(Path::new(foreign, Endpoint::Foreign(relation.clone())));
        paths.push(Path::new(below, Endpoint::Nested(relation.clone())));
        paths.push(Path::new(one, Endpoint::NestedEntity(relation)));
    }
    paths
}

impl Endpoint {
    /// The methods it has, in the order in which Kong lists them, HEAD and OPTIONS included.
    pub(crate) fn methods(&self) -> Vec<Method> {
        let mut methods = match self {
            Endpoint::Collection(_) | Endpoint::Nested(_) => vec![Method::GET, Method::POST],
            Endpoint::Entity(_) | Endpoint::Foreign(_) | Endpoint::NestedEntity(_) => {
                vec![Method::DELETE, Method::GET, Method::PATCH, Method::PUT]
            }
            Endpoint::Own(own) => own.methods.iter().map(|(method, _)| method.clone()).collect(),
            Endpoint::Added(_, methods) => methods.clone(),
            Endpoint::Closed(like, _) => return like.methods(),
        };
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        methods.push(Method::OPTIONS);
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }

    /// The answer to OPTIONS (`kong/api/api_helpers.lua`: options_method, cors_filter).
    fn options(&self, request: &Request) -> Answer {
        let allow = self.methods().iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let asked = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let headers = asked.and_then(|asked| asked.to_str().ok()).unwrap_or("Content-Type");
        Answer::empty(StatusCode::NO_CONTENT)
            .with(ALLOW, &allow)
            .with(ACCESS_CONTROL_ALLOW_METHODS, &allow)
            .with(ACCESS_CONTROL_ALLOW_HEADERS, headers)
    }
}

/// Answers a request by the table.
pub(crate) async fn dispatch(service: &Service, paths: &[Path], request: &Request) -> Answer {
    let found = request
        .segments()
        .and_then(|segments| paths.iter().find_map(|path| Some((path, path.fit(&segments)?))));
    // The web server in front of Kong's API answers this one itself.
    if request.method == Method::TRACE {
        return Answer::page(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some((path, parameters)) = found else {
        return routes::refused_tag(request).unwrap_or_else(Answer::not_found);
    };
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    let writes = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    if writes && let Some(refusal) = request.refused_type(path.pattern == "/config") {
        return refusal;
    }
    if method != Method::OPTIONS && !path.endpoint.methods().contains(method) {
        return Answer::method_not_allowed();
    }
    if request.query.len() > ARGUMENTS_MAX {
        return Answer::too_many_arguments();
    }
    let call = Call { service, request, method, parameters: &parameters };
    let outcome = match &path.endpoint {
        Endpoint::Closed(_, why) => Ok(why()),
        Endpoint::Added(number, methods)
            if method != Method::OPTIONS || methods.contains(&Method::OPTIONS) =>
        {
            added::answer(&call, *number).await
        }
        endpoint if method == Method::OPTIONS => Ok(endpoint.options(request)),
        Endpoint::Own(own) => match own.methods.iter().find(|(m, _)| m == method) {
            Some((_, handler)) => handler.answer(&call).await,
            None => Err(Answer::method_not_allowed().into()),
        },
        generated => collection::answer(&call, generated).await,
    };
    outcome.unwrap_or_else(Answer::from)
}
