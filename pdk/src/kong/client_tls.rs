//! `kong.client.tls`: the client's side of the TLS handshake (`kong/pdk/client/tls.lua`).

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Function, Outcome,
    Shape::{Any, Bool, None as Nothing, Text},
    arg, args,
    phases::{AFTER_HANDSHAKE, AFTER_HANDSHAKE_BEFORE_LOG, CERTIFICATE},
};
use crate::{Exchange, Value};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::now(
        "kong.client.tls.request_client_certificate",
        CERTIFICATE,
        &[arg("ca_certs", Any)],
        Bool,
        request_client_certificate,
    )
    .doc("Asks the client for a certificate during the handshake."),
    Function::now(
        "kong.client.tls.disable_session_reuse",
        CERTIFICATE,
        &[],
        Bool,
        disable_session_reuse,
    )
    .doc("Keeps the client from resuming this session later."),
    Function::now(
        "kong.client.tls.get_full_client_certificate_chain",
        AFTER_HANDSHAKE,
        &[],
        Text,
        get_full_client_certificate_chain,
    )
    .doc("The client's certificate and those that it sent with it, PEM, or nil."),
    Function::now(
        "kong.client.tls.set_client_verify",
        AFTER_HANDSHAKE_BEFORE_LOG,
        &[arg("value", Text)],
        Nothing,
        set_client_verify,
    )
    .doc(
        "Says what came of verifying the client's certificate: \"SUCCESS\", \"NONE\" or \
          \"FAILED:reason\".",
    ),
];

fn request_client_certificate(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    exchange.handshake.request_certificate = true;
    Ok(Value::Bool(true))
}

fn disable_session_reuse(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    exchange.handshake.no_session_reuse = true;
    Ok(Value::Bool(true))
}

fn get_full_client_certificate_chain(exchange: &mut Exchange, _: &[Value]) -> Outcome {
    let chain = exchange.client.tls.as_ref().map(|tls| tls.client_chain.as_slice());
    let Some(chain) = chain.filter(|chain| !chain.is_empty()) else { return args::done() };
    Ok(chain.iter().map(|der| pem(der)).collect::<String>().into())
}

/// A certificate in lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            out.push('\n');
        }
        out.push(digit);
    }
    out.push_str("\n-----END CERTIFICATE-----\n");
    out
}

fn set_client_verify(exchange: &mut Exchange, args: &[Value]) -> Outcome {
    let value = args::string(args, 0, "assertion failed!")?;
    if value != "SUCCESS" && value != "NONE" && !value.starts_with("FAILED:") {
        return Err(args::raise(format!(
            "unknown client verify value: {value} accepted values are: \"SUCCESS\", \"NONE\" or \
             \"FAILED:<reason>\""
        )));
    }
    exchange.client_verify = Some(value);
    args::done()
}
