//! The table of paths, made from the schemas: what the Admin API has, in one list
//! (`kong/api/endpoints.lua`, `kong/api/init.lua`).

use std::sync::Arc;

use http::Method;
use silverback_model::schema::Schema;

use crate::{Answer, Request, Service, collection, routes};

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
pub(crate) fn table(schemas: &[Arc<Schema>]) -> Vec<Path> {
    let mut paths: Vec<Path> =
        routes::ALL.iter().map(|own| Path::new(own.path.to_owned(), Endpoint::Own(own))).collect();
    for schema in schemas.iter().filter(|s| s.generate_admin_api) {
        for path in generated(schema, schemas) {
            if !paths.iter().any(|p| p.pattern == path.pattern) {
                paths.push(path);
            }
        }
    }
    paths.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    paths
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
        let nested = schema.admin_api_nested_name.as_deref().unwrap_or(own);
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
    fn methods(&self) -> Vec<Method> {
        let mut methods = match self {
            Endpoint::Collection(_) | Endpoint::Nested(_) => vec![Method::GET, Method::POST],
            Endpoint::Entity(_) | Endpoint::Foreign(_) | Endpoint::NestedEntity(_) => {
                vec![Method::DELETE, Method::GET, Method::PATCH, Method::PUT]
            }
            Endpoint::Own(own) => own.methods.iter().map(|(method, _)| method.clone()).collect(),
        };
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        methods.push(Method::OPTIONS);
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods
    }

    fn allow(&self) -> String {
        self.methods().iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Answers a request by the table.
pub(crate) fn dispatch(service: &Service, paths: &[Path], request: &Request) -> Answer {
    let found = request
        .segments()
        .and_then(|segments| paths.iter().find_map(|path| Some((path, path.fit(&segments)?))));
    let Some((path, parameters)) = found else { return Answer::not_found() };
    if request.method == Method::OPTIONS {
        let allow = path.endpoint.allow();
        return Answer::empty(http::StatusCode::NO_CONTENT)
            .with(http::header::ALLOW, &allow)
            .with(http::header::ACCESS_CONTROL_ALLOW_METHODS, &allow)
            .with(http::header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type");
    }
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    if !path.endpoint.methods().contains(method) {
        return Answer::method_not_allowed();
    }
    let writes = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    if writes && !request.has_known_type(path.pattern == "/config") {
        return Answer::unsupported_media_type();
    }
    match &path.endpoint {
        Endpoint::Own(own) => match own.methods.iter().find(|(m, _)| m == method) {
            Some((_, answer)) => answer(service, request, &parameters),
            None => Answer::method_not_allowed(),
        },
        generated => collection::answer(service, generated, request, method, &parameters),
    }
}
