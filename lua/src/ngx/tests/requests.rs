//! The request and the answer.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use silverback_pdk::{Body, Exchange, Phase};

use super::{check, check_with};
use crate::testing::exchange;

fn with_headers(lines: &[(&'static str, &'static str)]) -> Exchange {
    let mut exchange = exchange();
    for (name, value) in lines {
        exchange.request.headers.append(*name, HeaderValue::from_static(value));
    }
    exchange
}

fn in_phase(phase: Phase) -> Exchange {
    let mut exchange = exchange();
    exchange.phase = phase;
    exchange
}

#[test]
fn the_request_is_read() {
    check("return ngx.req.get_method(), ngx.req.http_version(), ngx.get_phase()", "GET 1.1 access");
    check("return ngx.var.request_uri, ngx.var.arg_x, ngx.var.nothing", "/a/b?x=1 1 nil");
    check("return ngx.req.get_uri_args().x, ngx.req.start_time() > 1e9", "1 true");
    let lines = [("x-one", "1"), ("x-two", "a"), ("x-two", "b")];
    let source = "local h = ngx.req.get_headers() return h['X-One'], h.x_two[2], h['x-two'][1]";
    check_with(&mut with_headers(&lines), source, "1 b a");
    check_with(
        &mut with_headers(&lines),
        "local h, e = ngx.req.get_headers(1) return e",
        "truncated",
    );
    check_with(
        &mut with_headers(&lines),
        "return ngx.req.raw_header():sub(1, 23)",
        "GET /a/b?x=1 HTTP/1.1\r\n",
    );
    check_with(
        &mut with_headers(&lines),
        "return rawget(ngx.req.get_headers(0, true), 'X-One')",
        "1",
    );
}

#[test]
fn the_request_is_changed() {
    let mut changed = with_headers(&[("x-one", "1")]);
    let source = "ngx.req.set_method(ngx.HTTP_PUT) ngx.req.set_header('X-One', {'a', 'b'}) \
                  ngx.req.set_header('X-Bad', 'a\\r\\nb') ngx.req.set_uri_args{b='x y'} \
                  ngx.req.set_uri('/other') ngx.var.upstream_uri = '/up?q=1' \
                  return ngx.var.uri, ngx.var.args, ngx.req.get_method()";
    check_with(&mut changed, source, "/other q=1 PUT");
    assert_eq!(changed.request.method, Method::PUT);
    assert_eq!(changed.upstream.path, "/up");
    assert_eq!(changed.request.headers.get_all("x-one").iter().count(), 2);
    assert_eq!(changed.request.headers["x-bad"], "a%0D%0Ab");
    check("ngx.req.set_method(3)", "error: unsupported HTTP method: 3");
    check(
        "ngx.var.host = 'x'",
        "error: variable \"host\" not found for writing; maybe it is a \
           built-in variable that is not changeable or you forgot to use \"set $host '';\" in the \
           config file to define it first",
    );
}

#[test]
fn bodies_are_read() {
    let with = |body: &'static str| {
        let mut exchange = exchange();
        exchange.request.body = Body::Bytes(Bytes::from_static(body.as_bytes()));
        exchange
    };
    let source = "ngx.req.read_body() return ngx.req.get_body_data(), ngx.req.get_post_args().a";
    check_with(&mut with("a=1&b=2"), source, "a=1&b=2 1");
    let source = "ngx.req.read_body() return ngx.req.get_body_data(), ngx.req.get_body_file()";
    check_with(&mut exchange(), source, "nil nil");
    let mut large = exchange();
    large.request.body = Body::Bytes(Bytes::from(vec![b'x'; 10_000]));
    let source = "ngx.req.read_body() local f = ngx.req.get_body_file() \
                  return ngx.req.get_body_data(), #require('pl.file').read(f)";
    check_with(&mut large, source, "nil 10000");
    let mut changed = with("a");
    check_with(&mut changed, "ngx.req.set_body_data('abc') return ngx.req.get_body_data()", "abc");
    assert_eq!(changed.request.headers["content-length"], "3");
}

#[test]
fn answers_are_made() {
    check("ngx.say('a', 1, {'b', {2}}, nil, true) ngx.exit(200)", "exit 200: a1b2niltrue\n");
    check("ngx.status = 401 ngx.print('no') ngx.exit(401)", "exit 401: no");
    check("ngx.exit(204)", "exit 204: ");
    check("ngx.exit(403)", "exit 403: -");
    check("pcall(ngx.exit, 403) error('never')", "exit 403: -");
    check("ngx.exit(ngx.OK)", "Next");
    check("ngx.redirect('/x')", "exit 302 to /x: -");
    check("ngx.redirect('/x', 301)", "exit 301 to /x: -");
    check(
        "ngx.redirect('/x', 200)",
        "error: only ngx.HTTP_MOVED_TEMPORARILY, \
           ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and \
           ngx.HTTP_TEMPORARY_REDIRECT are allowed",
    );
    check("return ngx.headers_sent, ngx.say('x'), ngx.headers_sent", "false 1 true");
    check(
        "ngx.say(function() end)",
        "error: bad argument #1 to 'print' (string, number, boolean, \
           nil, ngx.null, or array table expected, but got function)",
    );
}

#[test]
fn headers_of_the_answer() {
    let mut answered = in_phase(Phase::HeaderFilter);
    answered.response.status = StatusCode::NOT_FOUND;
    let source = "ngx.header.x_one = 1 ngx.header['X-Two'] = {'a', 'b'} \
                  ngx.header.content_type = 'x/y' \
                  ngx.header['X-Two'][1] = 'z' ngx.status = 201 ngx.header.gone = nil \
                  require('ngx.resp').add_header('x-one', 2) \
                  return ngx.status, ngx.header['X-One'][2], ngx.header.x_two[2], \
                  ngx.resp.get_headers()['Content-Type']";
    check_with(&mut answered, source, "201 2 b x/y");
    assert_eq!(answered.response.status, StatusCode::CREATED);
    assert_eq!(answered.response.headers.get_all("x-two").iter().count(), 2);
}

#[test]
fn pieces_of_a_body() {
    let mut piece = in_phase(Phase::BodyFilter);
    piece.chunk.data = Bytes::from_static(b"abc");
    let source = "local was = ngx.arg[1] ngx.arg[1] = {was:upper(), '!'} ngx.arg[2] = true \
                  return was, ngx.arg[1], ngx.arg[2]";
    check_with(&mut piece, source, "abc ABC! true");
    check("return ngx.arg[1]", "error: API disabled in the context of access_by_lua*");
}

#[test]
fn phases_allow_what_they_allow() {
    let disabled = |source: &str, phase, title: &str| {
        let expect = format!("error: API disabled in the context of {title}");
        check_with(&mut in_phase(phase), source, &expect);
    };
    disabled("ngx.sleep(0)", Phase::HeaderFilter, "header_filter_by_lua*");
    disabled("ngx.socket.tcp()", Phase::Log, "log_by_lua*");
    disabled("ngx.say('x')", Phase::BodyFilter, "body_filter_by_lua*");
    disabled("ngx.exit(200)", Phase::Log, "log_by_lua*");
    disabled("return ngx.var.uri", Phase::InitWorker, "init_worker_by_lua*");
    disabled("ngx.req.set_uri('/')", Phase::Log, "log_by_lua*");
    disabled("ngx.thread.spawn(function() end)", Phase::HeaderFilter, "header_filter_by_lua*");
    disabled("ngx.req.read_body()", Phase::Certificate, "ssl_certificate_by_lua*");
    check_with(&mut in_phase(Phase::Response), "return ngx.get_phase()", "content");
}

#[test]
fn the_context_lasts_as_long_as_the_request() {
    let state = super::state();
    let mut first = exchange();
    let mut second = exchange();
    let run = |exchange: &mut Exchange, source: &str| {
        super::shown(crate::testing::run(&state, exchange, source))
    };
    run(&mut first, "ngx.ctx.a = 1");
    assert_eq!(run(&mut second, "return ngx.ctx.a"), "nil");
    assert_eq!(run(&mut first, "ngx.ctx.b = 2 return ngx.ctx.a"), "1");
    run(&mut first, "ngx.ctx = {c = 3}");
    assert_eq!(run(&mut first, "return ngx.ctx.a, ngx.ctx.c"), "nil 3");
    let source = "weak = setmetatable({ngx.ctx}, {__mode = 'v'})";
    run(&mut first, source);
    drop(first);
    let source = "local _ = ngx.ctx collectgarbage() collectgarbage() return weak[1]";
    assert_eq!(run(&mut exchange(), source), "nil");
}
