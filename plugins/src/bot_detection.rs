//! bot-detection: keeps crawlers out by what they call themselves (`kong/plugins/bot-detection/`).

mod agents;

use http::{StatusCode, header::USER_AGENT};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, Plugin, kong};

use crate::{fields::Pattern, native::native};

pub(crate) fn plugin() -> Plugin {
    native::<BotDetection>(2500).access(BotDetection::access).build()
}

/// Keeps clients out that call themselves one of the well-known crawlers or programs.
#[derive(Debug, Deserialize, Config)]
#[plugin(name = "bot-detection", no_consumer, protocols_http)]
struct BotDetection {
    /// Regular expressions of User-Agent headers that may pass, whatever else they look like.
    #[field(default = [], elements(is_regex))]
    allow: Option<Vec<Pattern>>,
    /// Regular expressions of User-Agent headers that may not pass.
    #[field(default = [], elements(is_regex))]
    deny: Option<Vec<Pattern>>,
}

impl BotDetection {
    fn access(&self, exchange: &mut Exchange) -> Flow {
        let mut agents = exchange.request.headers.get_all(USER_AGENT).iter();
        let (status, text) = match (agents.next(), agents.next()) {
            (None, _) => return Flow::Next,
            (Some(agent), None) if self.may_pass(agent.as_bytes().trim_ascii()) => {
                return Flow::Next;
            }
            (Some(_), None) => (StatusCode::FORBIDDEN, "Forbidden"),
            (Some(_), Some(_)) => (StatusCode::BAD_REQUEST, "Only one User-Agent header allowed"),
        };
        Flow::Exit(kong::refusal(exchange, status, text))
    }

    /// A pattern that takes too long to look for does not let anybody pass.
    fn may_pass(&self, agent: &[u8]) -> bool {
        let agent = String::from_utf8_lossy(agent);
        let found = |list: &Option<Vec<Pattern>>, unsure: bool| {
            list.iter().flatten().any(|pattern| pattern.is_match(&agent).unwrap_or(unsure))
        };
        found(&self.allow, false) || !(found(&self.deny, true) || agents::is_known(&agent))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Case, run};

    const GOOGLEBOT: &str =
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

    fn check(config: &Value, agent: &str, expect: &str) {
        let case = Case::new(config).headers(&[("user-agent", agent)]);
        assert_eq!(run(&plugin(), case), expect, "{config} {agent}");
    }

    #[test]
    fn crawlers_are_kept_out() {
        let browser = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
        let cases = [
            ("", "next"),
            ("curl/8.5.0", "next"),
            (browser, "next"),
            (GOOGLEBOT, "403"),
            ("facebookexternalhit/1.1", "403"),
            ("Some-Crawler/1.0", "403"),
            ("Thing spider 2", "403"),
            ("Go-http-client/1.1", "403"),
            ("Boto3/1.9 Python", "403"),
        ];
        for (agent, expect) in cases {
            check(&json!({}), agent, expect);
        }
    }

    #[test]
    fn the_configuration_has_its_own_lists() {
        let config = json!({"allow": ["Googlebot/2\\.1"], "deny": ["^curl/"]});
        check(&config, GOOGLEBOT, "next");
        check(&config, "curl/8.5.0", "403");
        check(&config, "curl", "next");
        let two = [("user-agent", "a"), ("user-agent", "b")];
        assert_eq!(run(&plugin(), Case::new(&config).headers(&two)), "400");
        assert_eq!(run(&plugin(), Case::new(&config)), "next");
    }
}
