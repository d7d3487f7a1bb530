use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use super::*;
use crate::testing::{Case, SECRET, run};

/// A token of these parts, signed with HS256.
fn signed(header: &Json, claims: &Json) -> String {
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes())))
}

fn token(claims: &Json) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims)
}

fn bearer(config: &Json, token: &str) -> Case {
    Case::new(config).headers(&[("authorization", &format!("Bearer {token}"))])
}

/// The message of a refusal, or what came of the request.
fn said(case: Case) -> String {
    use futures_util::FutureExt;
    let (phases, mut exchange) = case.start(&plugin());
    let flow = phases.access.unwrap().run(&mut exchange).now_or_never().unwrap();
    match flow {
        silverback_pdk::Flow::Exit(answer) => {
            let body: Json = serde_json::from_slice(&answer.body.unwrap()).unwrap();
            body["message"].as_str().map_or_else(|| body.to_string(), str::to_owned)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn tokens_are_checked() {
    let cases = [
        (token(&json!({"iss": "alice"})), "Next"),
        (signed(&json!({"alg": "HS256", "iss": "alice"}), &json!({})), "Next"),
        (token(&json!({"iss": "alice"})) + "x", "Invalid signature"),
        (token(&json!({"iss": "nobody"})), "No credentials found for given 'iss'"),
        (token(&json!({"iss": "base64"})), "Invalid signature"),
        (token(&json!({"iss": ""})), "Invalid 'iss' in claims"),
        (token(&json!({"iss": 5})), "Invalid 'iss' in claims"),
        (token(&json!({"iss": ["alice"]})), "Invalid 'iss' in claims"),
        (token(&json!({"iss": null})), "Invalid 'iss' in claims"),
        (token(&json!({"sub": "alice"})), "No mandatory 'iss' in claims"),
        (token(&json!([1])), "Bad token; invalid claims"),
        (token(&json!({"iss": "no-key"})), "Invalid algorithm"),
        (signed(&json!({"alg": "ES256"}), &json!({"iss": "no-key"})), "Invalid key/secret"),
        (signed(&json!({"alg": "HS512"}), &json!({"iss": "alice"})), "Invalid algorithm"),
        (signed(&json!({"alg": "none"}), &json!({"iss": "alice"})), "Bad token; invalid alg"),
        (signed(&json!(7), &json!({"iss": "alice"})), "Bad token; invalid alg"),
        ("a.b.c".to_owned(), "Bad token; invalid JSON"),
        ("a.b".to_owned(), "Bad token; invalid JSON"),
    ];
    for (token, expect) in cases {
        assert_eq!(said(bearer(&json!({}), &token)), expect, "{token}");
    }
    let base64 = json!({"secret_is_base64": true});
    assert_eq!(said(bearer(&base64, &token(&json!({"iss": "base64"})))), "Next");
}

#[test]
fn times_are_checked() {
    let both = json!({"claims_to_verify": ["exp", "nbf"]});
    let limited = json!({"claims_to_verify": ["exp"], "maximum_expiration": 60});
    let (past, future) = (1_600_000_000_u64, 4_102_444_800_u64);
    let cases = [
        (&both, json!({"iss": "alice", "exp": future, "nbf": past}), "Next"),
        (&both, json!({"iss": "alice", "exp": past, "nbf": past}), r#"{"exp":"token expired"}"#),
        (
            &both,
            json!({"iss": "alice", "exp": past, "nbf": future}),
            r#"{"exp":"token expired","nbf":"token not valid yet"}"#,
        ),
        (
            &both,
            json!({"iss": "alice", "exp": "soon", "nbf": past}),
            r#"{"exp":"must be a number"}"#,
        ),
        (
            &limited,
            json!({"iss": "alice", "exp": future}),
            r#"{"exp":"exceeds maximum allowed expiration"}"#,
        ),
        (&json!({}), json!({"iss": "alice", "exp": past}), "Next"),
    ];
    for (config, claims, expect) in cases {
        assert_eq!(said(bearer(config, &token(&claims))), expect, "{config} {claims}");
    }
}

#[test]
fn tokens_are_found() {
    let token = token(&json!({"iss": "alice"}));
    let config = json!({"cookie_names": ["auth"], "realm": "r"});
    let none = "401 Bearer realm=\"r\"";
    let invalid = "401 Bearer realm=\"r\", error=\"invalid_token\"";
    let cases = [
        ("/".to_owned(), vec![], none),
        (format!("/?jwt={token}"), vec![], "next alice"),
        (format!("/?jwt={token}&jwt={token}"), vec![], "next alice"),
        (format!("/?jwt={token}&jwt=x"), vec![], invalid),
        ("/?jwt".to_owned(), vec![], invalid),
        ("/?jwt=".to_owned(), vec![], none),
        ("/".to_owned(), vec![("cookie", format!("a=b; auth={token}"))], "next alice"),
        ("/".to_owned(), vec![("cookie", format!("a=\u{fc}; auth={token}"))], "next alice"),
        ("/".to_owned(), vec![("authorization", token.clone())], none),
        (
            format!("/?jwt={token}"),
            vec![("authorization", format!("bearer {token}"))],
            "next alice authorization",
        ),
    ];
    for (target, headers, expect) in cases {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let case = Case::new(&config).request("GET", &target).headers(&headers);
        assert_eq!(run(&plugin(), case), expect, "{target} {headers:?}");
    }
}

#[test]
fn preflights_may_pass_but_not_with_an_identity_of_their_own() {
    let claim = [("x-consumer-groups", "admins")];
    let check = |config: Json, expect: &str| {
        let case = Case::new(&config).request("OPTIONS", "/").headers(&claim);
        assert_eq!(run(&plugin(), case), expect, "{config}");
    };
    check(json!({"run_on_preflight": false}), "next");
    check(json!({}), "401 Bearer");
    check(json!({"anonymous": "alice"}), "next alice anonymous");
}
