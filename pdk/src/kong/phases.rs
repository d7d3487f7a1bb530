//! The sets of phases that functions are allowed in, as Kong's modules name them.

use crate::{Phase, PhaseSet};

/// Everywhere.
pub(super) const ANY: PhaseSet = PhaseSet::ANY;

/// Everywhere but at the start of a worker.
pub(super) const NOT_INIT: PhaseSet = PhaseSet::of(&[
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
]);

/// Wherever there is a request.
pub(super) const REQUEST: PhaseSet = PhaseSet::of(&[
    Phase::Rewrite,
    Phase::Access,
    Phase::Balancer,
    Phase::Response,
    Phase::HeaderFilter,
    Phase::BodyFilter,
    Phase::Log,
    Phase::AdminApi,
]);

/// While the request's body is still here.
pub(super) const REQUEST_BODY: PhaseSet =
    PhaseSet::of(&[Phase::Rewrite, Phase::Access, Phase::Response, Phase::AdminApi]);

/// As long as the request can be changed, tries included.
pub(super) const BEFORE_SERVICE: PhaseSet =
    PhaseSet::of(&[Phase::Rewrite, Phase::Access, Phase::Balancer]);

/// The same for a stream too.
pub(super) const BEFORE_TARGET: PhaseSet =
    PhaseSet::of(&[Phase::Rewrite, Phase::Access, Phase::Balancer, Phase::Preread]);

/// As long as the request can be changed.
pub(super) const REWRITE_ACCESS: PhaseSet = PhaseSet::of(&[Phase::Rewrite, Phase::Access]);

/// After authentication has had its chance.
pub(super) const ACCESS_AND_LATER: PhaseSet = PhaseSet::of(&[
    Phase::Access,
    Phase::Response,
    Phase::HeaderFilter,
    Phase::BodyFilter,
    Phase::Log,
]);

/// As long as the answer's head can be changed.
pub(super) const BEFORE_ANSWER: PhaseSet = PhaseSet::of(&[
    Phase::Rewrite,
    Phase::Access,
    Phase::Balancer,
    Phase::Response,
    Phase::HeaderFilter,
    Phase::AdminApi,
]);

/// When there is an answer.
pub(super) const ANSWER: PhaseSet = PhaseSet::of(&[
    Phase::Response,
    Phase::HeaderFilter,
    Phase::BodyFilter,
    Phase::Log,
    Phase::AdminApi,
]);

/// When the service has answered.
pub(super) const SERVICE_ANSWER: PhaseSet =
    PhaseSet::of(&[Phase::Response, Phase::HeaderFilter, Phase::BodyFilter, Phase::Log]);

/// Access alone.
pub(super) const ACCESS: PhaseSet = PhaseSet::of(&[Phase::Access]);

/// body_filter alone.
pub(super) const BODY_FILTER: PhaseSet = PhaseSet::of(&[Phase::BodyFilter]);

/// The TLS handshake alone.
pub(super) const CERTIFICATE: PhaseSet = PhaseSet::of(&[Phase::Certificate]);

/// While the service is chosen.
pub(super) const PREREAD_BALANCER: PhaseSet = PhaseSet::of(&[Phase::Balancer, Phase::Preread]);

/// Log alone.
pub(super) const LOG: PhaseSet = PhaseSet::of(&[Phase::Log]);

/// Once the handshake is over.
pub(super) const AFTER_HANDSHAKE: PhaseSet =
    PhaseSet::of(&[Phase::Rewrite, Phase::Access, Phase::Balancer, Phase::Response, Phase::Log]);

/// Once the handshake is over, while it still matters what came of it.
pub(super) const AFTER_HANDSHAKE_BEFORE_LOG: PhaseSet =
    PhaseSet::of(&[Phase::Rewrite, Phase::Access, Phase::Balancer, Phase::Response]);
