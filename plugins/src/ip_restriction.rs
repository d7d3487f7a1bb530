//! ip-restriction: lets addresses in or keeps them out (`kong/plugins/ip-restriction/`).

use http::StatusCode;
use serde::Deserialize;
use silverback_macros::Config;
use silverback_pdk::{Exchange, Flow, LogLevel, Plugin, kong};

use crate::{fields::Network, native::native};

pub(crate) fn plugin() -> Plugin {
    native::<IpRestriction>(990)
        .access(IpRestriction::restrict)
        .preread(IpRestriction::restrict)
        .build()
}

/// Lets clients in or keeps them out by their address.
#[derive(Debug, Deserialize, Config)]
#[plugin(
    name = "ip-restriction",
    protocols_default("http", "https", "tcp", "tls", "grpc", "grpcs"),
    at_least_one_of("config.allow", "config.deny")
)]
struct IpRestriction {
    /// The addresses and CIDR ranges that may pass; no others may.
    #[field(elements(typedef = ip_or_cidr))]
    allow: Option<Vec<Network>>,
    /// The addresses and CIDR ranges that may not pass, even if `allow` has them.
    #[field(elements(typedef = ip_or_cidr))]
    deny: Option<Vec<Network>>,
    /// The status of a refusal; 403 if it is none from 400 to 599.
    #[field(required = false)]
    status: Option<f64>,
    /// The message of a refusal.
    #[field(required = false)]
    message: Option<String>,
}

impl IpRestriction {
    fn restrict(&self, exchange: &mut Exchange) -> Flow {
        let address = exchange.client.forwarded_ip;
        let listed = |list: &[Network]| list.iter().any(|network| network.contains(address));
        let allow = self.allow.as_deref().unwrap_or_default();
        let deny = self.deny.as_deref().unwrap_or_default();
        if !listed(deny) && (allow.is_empty() || listed(allow)) {
            return Flow::Next;
        }
        let default = || format!("IP address not allowed: {address}");
        let message = self.message.clone().unwrap_or_else(default);
        silverback_pdk::log(LogLevel::Warn, "ip-restriction", &message);
        Flow::Exit(kong::refusal(exchange, self.status(), &message))
    }

    fn status(&self) -> StatusCode {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let status = self.status.filter(|s| (400.0..600.0).contains(s)).map(|s| s as u16);
        status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::FORBIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, run};

    #[test]
    fn addresses_decide() {
        let cases = [
            (json!({"allow": ["10.0.0.0/8"]}), "10.1.2.3", "next"),
            (json!({"allow": ["10.0.0.0/8"]}), "11.1.2.3", "403"),
            (json!({"deny": ["10.0.0.0/8"], "status": 451}), "10.1.2.3", "451"),
            (json!({"deny": ["10.0.0.0/8"], "status": 451}), "::ffff:10.1.2.3", "451"),
            (json!({"deny": ["10.0.0.0/8"], "status": 7}), "10.1.2.3", "403"),
            (json!({"deny": ["10.0.0.0/8"]}), "11.1.2.3", "next"),
            (json!({"deny": ["10.0.0.9"], "allow": ["10.0.0.0/8"]}), "10.0.0.9", "403"),
            (json!({"deny": ["10.0.0.9"], "allow": ["10.0.0.0/8"]}), "10.0.0.8", "next"),
            (json!({"allow": ["2001:db8::/32"]}), "2001:db8::1", "next"),
        ];
        for (config, address, expect) in cases {
            let case = Case::new(&config).client(address);
            assert_eq!(run(&plugin(), case), expect, "{config} {address}");
        }
    }
}
