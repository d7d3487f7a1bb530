//! A call of the Admin API: a request, and the path that it fits.

use std::{future::Future, pin::Pin};

use http::Method;
use silverback_model::errors::Fault;

use crate::{Answer, Refusal, Request, Service};

/// A request at a path.
pub(crate) struct Call<'a> {
    /// Who answers.
    pub(crate) service: &'a Service,
    /// The request.
    pub(crate) request: &'a Request,
    /// The method; HEAD is GET.
    pub(crate) method: &'a Method,
    /// The parameters of the path, in order.
    pub(crate) parameters: &'a [String],
}

/// An answer, or one that says what is wrong.
pub(crate) type Outcome = Result<Answer, Refusal>;

/// What answers a call: at once, or when the store has answered.
pub(crate) enum Handler {
    Now(fn(&Call<'_>) -> Outcome),
    Later(for<'a> fn(&'a Call<'a>) -> Pending<'a>),
}

/// An outcome to wait for.
pub(crate) type Pending<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

impl Handler {
    pub(crate) async fn answer(&self, call: &Call<'_>) -> Outcome {
        match self {
            Handler::Now(answer) => answer(call),
            Handler::Later(answer) => answer(call).await,
        }
    }
}

impl Call<'_> {
    /// A parameter of the path, by its place.
    pub(crate) fn parameter(&self, place: usize) -> &str {
        self.parameters.get(place).map_or("", String::as_str)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Answer::fault(&fault).into()
    }
}
