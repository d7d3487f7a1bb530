//! acl: consumers of some groups may pass, or all but those (`kong/plugins/acl/`).

use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, Plugin, Value, kong};

use crate::native::native;

pub(crate) fn plugin() -> Plugin {
    native::<Acl>(950).access_later(access).build()
}

const CONSUMER_GROUPS: HeaderName = HeaderName::from_static("x-consumer-groups");
const AUTHENTICATED_GROUPS: HeaderName = HeaderName::from_static("x-authenticated-groups");

/// Lets consumers pass by the groups they are in.
#[derive(Debug, Deserialize, Config)]
#[plugin(
    name = "acl",
    no_consumer,
    protocols_http,
    only_one_of("config.allow", "config.deny"),
    at_least_one_of("config.allow", "config.deny")
)]
struct Acl {
    /// The groups that may pass; nobody else may.
    allow: Option<Vec<String>>,
    /// The groups that may not pass; everybody else may.
    deny: Option<Vec<String>>,
    /// Whether the upstream is not told the groups.
    #[field(required, default = false)]
    hide_groups_header: bool,
    /// Whether the groups that another plugin found out count even where a consumer is known.
    #[field(required, default = false)]
    always_use_authenticated_groups: bool,
}

fn access<'a>(acl: &'a Acl, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
    Box::pin(acl.access(exchange))
}

impl Acl {
    async fn access(&self, exchange: &mut Exchange) -> Flow {
        let known = exchange.client.credential.is_some();
        let consumer = exchange.client.consumer.as_deref();
        let consumer = consumer.and_then(|consumer| consumer.get("id")?.as_str());
        // A plugin may have authenticated a credential alone.
        let credential = exchange.client.credential.as_deref();
        let consumer = consumer.or_else(|| credential?.get("consumer_id")?.as_str());
        let authenticated = if consumer.is_none() || !known || self.always_use_authenticated_groups
        {
            authenticated_groups(exchange)
        } else {
            None
        };
        let (header, groups) = match (authenticated, consumer) {
            (Some(groups), _) => (AUTHENTICATED_GROUPS, groups),
            (None, None) => return refuse(exchange, known),
            (None, Some(consumer)) => {
                let groups = match groups_of(exchange, consumer).await {
                    Ok(groups) => groups,
                    Err(error) => return Flow::Fail(error),
                };
                if groups.is_empty() && !self.denies() {
                    return refuse(exchange, known);
                }
                (CONSUMER_GROUPS, groups)
            }
        };
        if self.listed(&groups) == self.denies() {
            return refuse(exchange, true);
        }
        let shown = HeaderValue::try_from(groups.join(", ")).ok();
        match shown.filter(|_| !self.hide_groups_header) {
            Some(groups) => exchange.request.headers.insert(header, groups),
            None => exchange.request.headers.remove(header),
        };
        Flow::Next
    }

    fn denies(&self) -> bool {
        self.deny.as_ref().is_some_and(|deny| !deny.is_empty())
    }

    fn listed(&self, groups: &[String]) -> bool {
        let list = if self.denies() { &self.deny } else { &self.allow };
        list.as_ref().is_some_and(|list| list.iter().any(|group| groups.contains(group)))
    }
}

/// 401 for those who could say more of who they are, 403 for those who have said it.
fn refuse(exchange: &Exchange, known: bool) -> Flow {
    Flow::Exit(if known {
        kong::refusal(exchange, StatusCode::FORBIDDEN, "You cannot consume this service")
    } else {
        kong::refusal(exchange, StatusCode::UNAUTHORIZED, "Unauthorized")
    })
}

async fn groups_of(exchange: &Exchange, consumer: &str) -> Result<Vec<String>, String> {
    let acls = exchange.view.children("acls", "consumer", consumer).get().await?;
    let groups = acls.iter().filter_map(|acl| acl.get("group")?.as_str());
    Ok(groups.map(str::to_owned).collect())
}

/// The groups that another plugin has left in `kong.ctx.shared`, or else in `ngx.ctx`.
fn authenticated_groups(exchange: &Exchange) -> Option<Vec<String>> {
    let shared = exchange.shared.get("authenticated_groups").as_ref().and_then(list);
    shared.or_else(|| exchange.nginx_ctx.get("authenticated_groups").and_then(list))
}

fn list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(groups) => {
            Some(groups.iter().filter_map(|group| group.as_str().map(str::to_owned)).collect())
        }
        // An empty Lua table.
        Value::Map(pairs) if pairs.is_empty() => Some(Vec::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, run};

    #[test]
    fn groups_decide() {
        let cases = [
            // alice is in "staff" and "ops", bob in no group.
            (json!({"allow": ["staff"]}), Some("alice"), "next alice groups=staff, ops"),
            (json!({"allow": ["other"]}), Some("alice"), "403"),
            (json!({"allow": ["other"]}), Some("bob"), "403"),
            (json!({"allow": ["staff"]}), None, "401"),
            (json!({"deny": ["staff"]}), Some("alice"), "403"),
            (json!({"deny": ["other"]}), Some("bob"), "next bob groups="),
            (json!({"deny": ["other"]}), None, "401"),
            (json!({"allow": ["staff"], "hide_groups_header": true}), Some("alice"), "next alice"),
        ];
        for (config, who, expect) in cases {
            let case = Case::new(&config).headers(&[("x-consumer-groups", "spoofed")]);
            assert_eq!(run(&plugin(), case.authenticated(who)), expect, "{config}");
        }
    }

    #[test]
    fn groups_that_another_plugin_found_out_stand_for_those_of_a_consumer() {
        let groups = Value::Array(vec!["editors".into(), "readers".into()]);
        let check = |config: serde_json::Value, who: Option<&str>, expect: &str| {
            let case = Case::new(&config).authenticated(who);
            let case = case.shared("authenticated_groups", groups.clone());
            assert_eq!(run(&plugin(), case), expect, "{config}");
        };
        let found = "x-authenticated-groups=editors, readers";
        check(json!({"allow": ["editors"]}), None, &format!("next {found}"));
        check(json!({"allow": ["writers"]}), None, "403");
        check(json!({"allow": ["editors"]}), Some("alice"), "403");
        let always = json!({"allow": ["editors"], "always_use_authenticated_groups": true});
        check(always, Some("alice"), &format!("next alice {found}"));
    }
}
