//! The index finds what a plain walk over all routes finds, on generated routes and requests.

mod random;
mod walk;

use atc_router::ast::{Type, Value};
use atc_router::context::Context;
use atc_router::router::Router as Engine;
use atc_router::schema::Schema;
use silverback_model::entities::{Protocol, Route, Set};
use silverback_router::{Flavor, RouteInput, Router};

use random::{FLAVORS, Random, in_own_words};
use walk::walk;

#[test]
fn the_index_agrees_with_a_walk_over_all_routes() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut found = 0;
    for round in 0..450 {
        let flavor = FLAVORS[round % 3];
        let count = 1 + random.below(12);
        let meant: Vec<Route> = (0..count).map(|_| random.route(flavor)).collect();
        let given: Vec<Route> = meant.iter().map(in_own_words).collect();
        let inputs: Vec<_> =
            given.iter().map(|route| RouteInput { route, service: None }).collect();
        let router = Router::build(flavor, &inputs).unwrap();
        for _ in 0..60 {
            let request = random.request();
            let lookup = request.lookup();
            let answer = router.find(&lookup);
            let chosen = answer.as_ref().map(|found| found.route);
            let expect = walk(flavor, &meant, &lookup);
            assert_eq!(chosen, expect, "{flavor:?}\n{request:#?}\n{given:#?}");
            found += u32::from(expect.is_some());
        }
        layers_agree(&mut random, flavor, &given, &router);
    }
    assert!((9000..22000).contains(&found), "the requests should both match and not: {found}");
}

/// Routes that came or changed one after the other are found like all at once.
fn layers_agree(random: &mut Random, flavor: Flavor, routes: &[Route], whole: &Router) {
    let input = |route| RouteInput { route, service: None };
    let other = |random: &mut Random| in_own_words(&random.route(flavor));
    let mut current: Vec<Option<Route>> = routes.iter().cloned().map(Some).collect();
    let mut changed = Vec::new();
    for (at, route) in current.iter_mut().enumerate() {
        if random.below(3) == 0 {
            *route = [None, Some(other(random))][random.below(2)].clone();
            changed.push(at);
        }
    }
    let before = (0..).zip(&current).filter_map(|(at, route)| Some((at, input(route.as_ref()?))));
    let (mut layered, errors) = Router::build_without_wrong(flavor, before);
    assert!(errors.is_empty());
    // One that comes and goes, another that changes twice.
    let end = routes.len() as u32;
    let (guest, twice) = (other(random), other(random));
    (layered, _) = layered.changed([(end, Some(input(&guest)))]);
    if let Some(first) = changed.first() {
        (layered, _) = layered.changed([(*first as u32, Some(input(&twice)))]);
    }
    let rebased = layered.rebased();
    let at_rebase = layered.changed([]).0;
    let inputs = changed.iter().map(|at| (*at as u32, Some(input(&routes[*at]))));
    (layered, _) = layered.changed(inputs.chain([(end, None)]));
    let moved = layered.on(&rebased, &at_rebase).unwrap();
    assert!(rebased.on(&rebased, &at_rebase).is_none());
    assert!(moved.changes() <= layered.changes());
    for router in [&layered, &layered.rebased(), &moved] {
        for _ in 0..20 {
            let request = random.request();
            let lookup = request.lookup();
            let (found, expect) = (router.find(&lookup), whole.find(&lookup));
            assert_eq!(found, expect, "{flavor:?} {request:#?}\n{routes:#?}\n{changed:?}");
        }
    }
}

/// Expressions are found by their index as atc-router finds them one by one, captures and all.
#[test]
fn the_index_agrees_with_atc_router() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for _ in 0..300 {
        let count = 1 + random.below(30);
        let routes = (0..count).map(|_| Route {
            priority: random.below(4) as u64,
            expression: Some(random.expression(3)),
            protocols: Set(vec![Protocol::Http, Protocol::Https]),
            ..random.route(Flavor::Expressions)
        });
        let routes: Vec<Route> = routes.collect();
        let inputs: Vec<_> =
            routes.iter().map(|route| RouteInput { route, service: None }).collect();
        let router = Router::build(Flavor::Expressions, &inputs).unwrap();
        let mut schema = Schema::default();
        for field in ["http.method", "http.host", "http.path", "net.protocol"] {
            schema.add_field(field, Type::String);
        }
        let mut engine = Engine::new(&schema);
        for route in &routes {
            let text = route.expression.as_deref().unwrap();
            engine.add_matcher(route.priority as usize, route.id, text).unwrap();
        }
        for _ in 0..30 {
            let request = random.request();
            let lookup = request.lookup();
            let mut context = Context::new(&schema);
            let host = lookup.host.split(':').next().unwrap_or_default();
            let protocol = lookup.scheme.as_str();
            for (field, value) in [
                ("http.method", lookup.method),
                ("http.host", host),
                ("http.path", lookup.path),
                ("net.protocol", protocol),
            ] {
                context.add_value(field, Value::String(value.to_owned()));
            }
            let expect = engine.execute(&mut context).then(|| context.result.unwrap());
            let found = router.find(&lookup);
            let ids = found.as_ref().map(|found| routes[found.route as usize].id);
            assert_eq!(ids, expect.as_ref().map(|e| e.uuid), "{request:#?}\n{routes:#?}");
            let groups = |found: &silverback_router::Match<'_>| {
                found.captures.as_ref().map_or(0, |c| c.unnamed.iter().flatten().count())
            };
            let all = expect.as_ref().map_or(0, |e| {
                let numbered = e.captures.keys().filter(|name| name.parse::<u32>().is_ok());
                numbered.count()
            });
            let groups = found.as_ref().map_or(0, groups);
            assert!(groups == all || (groups == 0 && all == 1), "{groups} {all}");
        }
    }
}
