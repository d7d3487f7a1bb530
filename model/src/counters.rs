//! Counters that the nodes of a cluster share: the tables of the policy `cluster` of rate-limiting
//! and response-ratelimiting (`kong/plugins/*/policies/cluster.lua`).

use uuid::Uuid;

/// Which table counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// rate-limiting's: `ratelimiting_metrics`.
    Requests,
    /// response-ratelimiting's: `response_ratelimiting_metrics`.
    Answers,
}

/// What is to be counted: so much in each of these windows, or in none of them.
#[derive(Debug, Clone)]
pub struct Count {
    /// Whose counters.
    pub identifier: String,
    /// The service that they are limited to; nil: any.
    pub service: Uuid,
    /// The route that they are limited to; nil: any.
    pub route: Uuid,
    /// The windows, the shortest first.
    pub windows: Vec<CountWindow>,
    /// How much. With 0 nothing is written.
    pub amount: u64,
}

/// A counter's window of time.
#[derive(Debug, Clone)]
pub struct CountWindow {
    /// The period as the table names it: `minute`, or `NAME_minute` of a limit with a name.
    pub period: String,
    /// When it began, in seconds since 1970.
    pub start: u64,
    /// When it ends, in seconds since 1970.
    pub end: u64,
    /// Where so much is reached, nothing is counted in any of the windows.
    pub limit: Option<f64>,
}
