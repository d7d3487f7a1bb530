//! `kong.ip`: addresses (`kong/pdk/ip.lua`).

use std::net::IpAddr;

use super::{
    Function, Outcome,
    Shape::{Bool, Text},
    arg, args,
    phases::ANY,
    quick::Address,
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] =
    &[Function::now("kong.ip.is_trusted", ANY, &[arg("address", Text)], Bool, is_trusted)
        .doc("Whether an address is one of `trusted_ips`.")];

/// An address as text. Formatting one of four bytes by `Display` takes twenty times as long.
pub(super) fn text(address: IpAddr) -> Address {
    let mut text = Address::new(b"");
    let IpAddr::V4(address) = address else { return Address::new(address.to_string().as_bytes()) };
    for (place, byte) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push(b'.');
        }
        if byte >= 100 {
            text.push(b'0' + byte / 100);
        }
        if byte >= 10 {
            text.push(b'0' + byte / 10 % 10);
        }
        text.push(b'0' + byte % 10);
    }
    text
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
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "255.10.99.100",
            "1.20.200.9",
            "::1",
            "fe80::1:2",
            "::ffff:255.255.255.255",
        ] {
            let parsed = address.parse().expect("an address");
            assert_eq!(text(parsed).as_bytes(), address.as_bytes());
        }
    }
}
