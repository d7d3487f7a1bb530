//! `kong.ip`: addresses (`kong/pdk/ip.lua`).

use std::net::IpAddr;

use super::{
    Function, Outcome,
    Shape::{Bool, Text},
    arg, args,
    phases::ANY,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] =
    &[Function::now("kong.ip.is_trusted", ANY, &[arg("address", Text)], Bool, is_trusted)
        .doc("Whether an address is one of `trusted_ips`.")];

/// An address as text. Formatting one of four bytes by `Display` takes twenty times as long.
pub(super) fn text(address: IpAddr) -> Value {
    let IpAddr::V4(address) = address else { return address.to_string().into() };
    let mut text = Vec::with_capacity("255.255.255.255".len());
    for byte in address.octets() {
        if !text.is_empty() {
            text.push(b'.');
        }
        let digits = [byte / 100, byte / 10 % 10, byte % 10];
        let leading = if byte >= 100 {
            0
        } else if byte >= 10 {
            1
        } else {
            2
        };
        text.extend(digits.iter().skip(leading).map(|digit| b'0' + digit));
    }
    Value::Text(text.into())
}

fn is_trusted(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let address = args::get(args, 0).as_str().and_then(|address| address.parse().ok());
    let node = exchange.view.node();
    Ok(address.is_some_and(|address| node.trusts(address)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everywhere() {
        for address in ["0.0.0.0", "127.0.0.1", "255.10.99.100", "1.20.200.9", "::1", "fe80::1:2"] {
            let parsed = address.parse().expect("an address");
            assert_eq!(text(parsed), Value::text(address));
        }
    }
}
