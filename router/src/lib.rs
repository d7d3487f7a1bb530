//! From request to route. Pure: no I/O.
//!
//! A [`Router`] is compiled from the routes once and then only read. [`normalize`] makes the path
//! that routes see, [`Router::find`] chooses the route, [`Match::upstream_path`] says what path
//! the upstream gets. There is no cache of results: a look-up goes straight through an index, from
//! the host to the prefixes of the path to the routes that can match, best first.
//!
//! Routes are ordered by the rules of Kong's router flavours ([`Flavor`]). Routes with an
//! expression have an index too, by what their expressions demand of host and path.

mod router;

mod compile;

mod order;

mod index;

mod buckets;

mod conditions;

mod schemes;

mod hosts;

mod pattern;

pub mod expressions;

mod lookup;

mod path;

pub use lookup::{Captures, Lookup, Match};
pub use path::{BadPath, normalize};
pub use router::{BuildError, BuildErrors, Flavor, Problem, RouteInput, Router};
