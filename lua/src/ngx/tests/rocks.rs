//! Modules in the manner of rocks that Kong brings along.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use bytes::Bytes;
use http::HeaderValue;
use silverback_pdk::Body;

use super::{check, check_with};
use crate::testing::exchange;

#[test]
fn encodings_of_mail() {
    let of = |source: &str, expect: &str| {
        check(&format!("local mime, ltn12 = require('mime'), require('ltn12') {source}"), expect);
    };
    of("return mime.b64('hello'), (mime.unb64('aGVsbG8='))", "aGVsbG8= hello");
    of("return mime.b64('hel', 'lo')", "aGVs lo");
    of("return (mime.qp('a=b é \\r\\n'))", "a=3Db =C3=A9=20\r\n");
    of("return (mime.unqp('a=3Db=\\r\\nc=C3=A9'))", "a=bcé");
    of("return (mime.wrp(3, 'abcdef', 3))", "abc\r\ndef");
    of("return (mime.qpwrp(4, 'abcdef=20', 4))", "abc=\r\ndef=\r\n=20");
    of("return (mime.eol(0, 'a\\nb\\r\\nc\\r', '|'))", "a|b|c|");
    of("return (mime.dot(2, '.a\\r\\n.b'))", "..a\r\n..b");
    of(
        "local list = {} local chain = ltn12.filter.chain(mime.encode('base64'), mime.wrap(8)) \
         ltn12.pump.all(ltn12.source.chain(ltn12.source.string('hello world'), chain), \
         (ltn12.sink.table(list))) return table.concat(list)",
        "aGVsbG8g\r\nd29ybGQ=\r\n",
    );
    of(
        "local snk, list = ltn12.sink.table() ltn12.pump.all(ltn12.source.cat( \
         ltn12.source.string('aG'), ltn12.source.table({'k', '='})), \
         ltn12.sink.chain(mime.decode('base64'), snk)) return table.concat(list)",
        "hi",
    );
}

#[test]
fn yaml_goes_in_and_comes_out() {
    let of = |source: &str, expect: &str| {
        check(&format!("local lyaml = require('lyaml') {source}"), expect);
    };
    of(
        "local t = lyaml.load('a: [1, two, ~]\\nb: {c: true}') \
         return t.a[1], t.a[2], t.a[3] == lyaml.null, t.b.c",
        "1 two true true",
    );
    of("return #lyaml.load('--- 1\\n--- 2\\n', {all = true})", "2");
    of("return lyaml.dump({{a = {1, 'x'}}})", "---\na:\n- 1\n- x\n...\n");
    of("return (pcall(lyaml.load, 'a: ['))", "false");
}

#[test]
fn versions_compare() {
    let of = |source: &str, expect: &str| {
        check(&format!("local version = require('version') {source}"), expect);
    };
    of("return version('1.2') < version('1.10'), version('1.0') == version('1')", "true true");
    of(
        "return tostring(version('nginx 1.2.3')), version('x')",
        "1.2.3 nil Not a valid version \
        element: 'x'",
    );
    of(
        "local set = version.set('1.0', '2.0'):disallowed('1.5') \
         return set:matches('1.4'), set:matches('1.5'), set:matches('2.1')",
        "true false false",
    );
}

#[test]
fn tokens_are_signed_and_read() {
    let of = |source: &str, expect: &str| {
        check(&format!("local jwt = require('kong.plugins.jwt.jwt_parser') {source}"), expect);
    };
    of(
        "local t = jwt:new(jwt.encode({sub = 'me', exp = 1}, 'secret')) \
         local ok, why = t:verify_registered_claims({'exp', 'nbf'}) \
         return t.claims.sub, t.header.alg, t:verify_signature('secret'), \
         t:verify_signature('other'), ok, why.exp, why.nbf",
        "me HS256 true false false token expired must be a number",
    );
    of(
        "local pkey = require('resty.openssl.pkey') local all = {} \
         for _, made in ipairs{{'RS256', {type = 'RSA', bits = 2048}}, \
         {'ES256', {type = 'EC'}}} do \
         local key = pkey.new(made[2]) \
         local t = jwt:new(jwt.encode({a = 1}, key:to_PEM('private'), made[1])) \
         all[#all + 1] = tostring(t:verify_signature(key:to_PEM('public'))) end \
         return table.concat(all, ' ')",
        "true true",
    );
    of("return jwt:new('a.b')", "nil invalid JSON");
    of("return jwt:new('e30.e30.x')", "nil invalid alg");
}

#[test]
fn counters_are_kept_in_a_dictionary() {
    check(
        "local counter = require('resty.counter').new('test') counter:incr('c', 2) \
         counter:incr('c') return counter:get('c'), require('resty.counter').new('none')",
        "3 nil shared dict does not exist",
    );
}

#[test]
fn forms_are_read_piece_by_piece() {
    let mut request = exchange();
    let multipart = HeaderValue::from_static("multipart/form-data; boundary=\"b\"");
    request.request.headers.insert("content-type", multipart);
    let body = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n12345\r\n--b\r\n\
                Content-Disposition: form-data; name=\"e\"\r\n\r\n\r\n--b--\r\n";
    request.request.body = Body::from_bytes(Bytes::from_static(body.as_bytes()));
    check_with(
        &mut request,
        "local form = require('resty.upload'):new(4) local all = {} \
         repeat local kind, value = form:read() \
         all[#all + 1] = kind .. (type(value) == 'table' and '=' .. value[1] or \
         value and '=' .. value or '') until kind == 'eof' return table.concat(all, ' ')",
        "header=Content-Disposition body=1234 body=5 part_end header=Content-Disposition part_end \
         eof",
    );
    check("return require('resty.upload'):new()", "nil no Content-Type header");
}

/// A server that says this, piece by piece, to whoever says something.
fn server(answers: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut buffer = [0; 4096];
        for answer in answers {
            if !stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                return;
            }
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    });
    port
}

#[test]
fn a_client_of_websocket() {
    // The key and its answer are those of RFC 6455, 1.3.
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let hello = [head.as_bytes(), b"\x81\x05hello\x01\x01a\x80\x01b\x89\x00"].concat();
    let port = server(vec![hello, b"\x88\x05\x03\xe8bye".to_vec()]);
    check(
        &format!(
            "local client = require('resty.websocket.client'):new({{timeout = 5000}}) \
             assert(client:connect('ws://127.0.0.1:{port}/chat', \
             {{key = 'dGhlIHNhbXBsZSBub25jZQ=='}})) \
             local text, kind = client:recv_frame() \
             local _, _, again = client:recv_frame() local b, more = client:recv_frame() \
             local _, ping = client:recv_frame() local sent = client:send_text('hi') \
             local bye, close, code = client:recv_frame() \
             return text, kind, again, b, more, ping, sent, bye, close, code"
        ),
        "hello text again b continuation ping 8 bye close 1000",
    );
    check(
        "return require('resty.websocket.client'):new():connect('http://a')",
        "nil bad websocket uri: http://a",
    );
    check(
        "return pcall(require('ngx.balancer').set_current_peer, 'a', 1)",
        "false API disabled \
        in the current context",
    );
}
