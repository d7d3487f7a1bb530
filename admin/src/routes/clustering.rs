//! `/clustering`: data planes (`kong/api/routes/clustering.lua`).

use http::StatusCode;

use crate::{
    Answer,
    call::{Call, Outcome},
};

/// The answer of a node that is no control plane.
pub(super) fn no_control_plane(_: &Call<'_>) -> Outcome {
    let text = "this endpoint is only available when Kong is configured to run as Control Plane \
                for the cluster";
    Err(Answer::message(StatusCode::BAD_REQUEST, text).into())
}
