//! The runner of the conformance scenarios: what a real Kong answered, replayed against Silverback.
//!
//! `conformance/scenarios/FOLDER/NAME.yaml` are the recordings, `conformance/differences/` says
//! where Silverback is right on purpose, `conformance/expected.yaml` names what does not run or
//! pass yet, each with its reason. Every scenario is run or named there; one that is named and
//! passes is a failure, so that the list can only shrink.

mod compare;
mod normal;
mod replay;
mod scenario;
mod suite;

pub use suite::main;
