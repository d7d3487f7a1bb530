//! Snippets of Lua with what they give, run in a real state.

mod modules;
mod requests;
mod rocks;
mod sockets;
mod waiting;

use std::{rc::Rc, sync::Arc};

use silverback_pdk::{Exchange, Flow};

use crate::{
    Config,
    scheduler::Ending,
    state::State,
    testing::{exchange, run, state_of, texts},
};

/// A state with shared dictionaries of its own.
fn state() -> Rc<State> {
    static LAST: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let shared_dicts = vec![(format!("test{number}"), 1 << 20), ("kong_locks".to_owned(), 1 << 20)];
    let config = Config { shared_dicts, ..Config::default() };
    let state = state_of(config, &Arc::default());
    let alias = format!("ngx.shared.test = ngx.shared.test{number}");
    state.lua.load(alias).exec().expect("it runs");
    state
}

fn shown(ending: Ending) -> String {
    match ending {
        Ending::Flow(Flow::Exit(answer) | Flow::Send(answer)) => {
            let body = answer.body.map(|body| String::from_utf8_lossy(&body).into_owned());
            let place = answer.headers.get("location").and_then(|place| place.to_str().ok());
            let place = place.map(|place| format!(" to {place}")).unwrap_or_default();
            format!("exit {}{place}: {}", answer.status.as_u16(), body.as_deref().unwrap_or("-"))
        }
        ending => texts(ending).unwrap_or_else(|error| {
            let line = error.lines().next().unwrap_or_default();
            format!("error: {}", line.trim_start_matches(|c| c != ' ').trim_start())
        }),
    }
}

/// What a snippet gives that runs with an exchange.
#[track_caller]
fn check_with(exchange: &mut Exchange, source: &str, expect: &str) {
    assert_eq!(shown(run(&state(), exchange, source)), expect, "{source}");
}

/// What a snippet gives.
#[track_caller]
fn check(source: &str, expect: &str) {
    check_with(&mut exchange(), source, expect);
}

#[test]
fn texts_are_escaped() {
    check("return ngx.escape_uri('a b/ü?&=~*')", "a%20b%2F%C3%BC%3F%26%3D~*");
    check("return ngx.escape_uri('a b/c?d', 0)", "a%20b/c%3Fd");
    check("return ngx.unescape_uri('a%20b+c%2fd%zz%')", "a b c/d%zz%");
    check("return ngx.encode_args{a=1}, ngx.encode_args{b={true,'x y'}}", "a=1 b&b=x%20y");
    check("return ngx.encode_args{a=true}, ngx.encode_args{a=false}, ngx.encode_args{}", "a  ");
    check(
        "local a = ngx.decode_args('a=1&b&a=2&c=&d=x%20y') return a.a[2], a.b, a.c, a.d",
        "2 true  x y",
    );
    check("local a, e = ngx.decode_args('a=1&b=2&c=3', 2) return a.c, e", "nil truncated");
    check("return ngx.quote_sql_str([[a'b\\c]])", r"'a\'b\\c'");
    check(
        "return ngx.encode_base64('hello'), ngx.encode_base64('hello', true)",
        "aGVsbG8= aGVsbG8",
    );
    check(
        "return ngx.decode_base64('aGVsbG8='), ngx.decode_base64('aGVsbG8'), \
           ngx.decode_base64('!')",
        "hello hello nil",
    );
    check("return require('ngx.base64').encode_base64url('\\255\\254')", "__4");
    check("return require('ngx.base64').decode_base64url('__4') == '\\255\\254'", "true");
    check("return require('ngx.base64').decode_base64url('a~')", "nil invalid input");
}

#[test]
fn digests() {
    check("return ngx.md5('hello')", "5d41402abc4b2a76b9719d911017c592");
    check("return #ngx.md5_bin('hello'), #ngx.sha1_bin('x')", "16 20");
    check(
        "return require('resty.string').to_hex(ngx.hmac_sha1('key', 'text'))",
        "369e2959eb49450338b212748f77d8ded74847bb",
    );
    check("return ngx.crc32_short('hello'), ngx.crc32_long('hello')", "907060870 907060870");
    for (name, hex) in [
        ("sha224", "ea09ae9cc6768c50fcee903ed054556e5bfc8347907f12598aa24193"),
        ("sha1", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
        ("md5", "5d41402abc4b2a76b9719d911017c592"),
    ] {
        let source = format!(
            "local d = require('resty.{name}'):new() d:update('hel') d:update('lo') \
             return require('resty.string').to_hex(d:final())"
        );
        check(&source, hex);
    }
    check(
        "return require('kong.tools.sha256').sha256_hex('hello')",
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    );
}

#[test]
fn expressions_match() {
    check("local m = ngx.re.match('hello 1234', '([0-9])[0-9]+') return m[0], m[1]", "1234 1");
    check("local m = ngx.re.match('a', '(a)|(b)') return m[1], m[2], #m", "a false 2");
    check(
        "local m = ngx.re.match('k=v', '(?<key>\\\\w)=(?<value>\\\\w)', 'jo') \
         return m.key, m.value",
        "k v",
    );
    check("return ngx.re.match('x', 'y')", "nil");
    check(
        "local m, e = ngx.re.match('x', '(') return m, e:match('^pcre2_compile%(%) failed: ')",
        "nil pcre2_compile() failed: ",
    );
    check("return ngx.re.find('hello, 1234', '([0-9]+)', 'jo')", "8 11");
    check("return ngx.re.find('hello, 1234', '(h)|([0-9]+)', 'jo', {pos=2}, 2)", "8 11");
    check("local c = {pos=2} ngx.re.find('aab', 'a', '', c) return c.pos", "3");
    check("return ngx.re.find('xa', 'a', 'a'), ngx.re.find('xa', 'a', 'a', {pos=2})", "nil 2 2");
    check(
        "return (ngx.re.find('ABC', 'b', 'i')), ngx.re.match('a\\nb', 'a.b', 's')[0] == 'a\\nb'",
        "2 true",
    );
    check(
        "local all = {} for m in ngx.re.gmatch('a1b2', '([a-z])([0-9])') do \
           all[#all+1] = m[2] .. m[1] end return table.concat(all, ',')",
        "1a,2b",
    );
    check("local n = 0 for m in ngx.re.gmatch('abc', 'x*') do n = n + 1 end return n", "4");
    check(
        "return ngx.re.sub('hello 12', '([0-9])([0-9])', '[$0][${2}$$$1x]')",
        "hello [12][2$1x] 1",
    );
    check("return ngx.re.gsub('a-b-c', '-', '+')", "a+b+c 2");
    check("return ngx.re.gsub('abc', '[ac]', function(m) return m[0]:upper() end)", "AbC 2");
    check("return ngx.re.gsub('abc', '', '-')", "-a-b-c- 4");
    check("return ngx.re.gsub('x', 'y', 'z')", "x 0");
    check("local t, n, e = ngx.re.gsub('x', '(', 'z') return t, n, e ~= nil", "nil nil true");
    check(
        "local t, n, e = ngx.re.sub('x', 'x', '${a') return t, n, e",
        "nil nil the closing brace in \"${a\" variable is missing",
    );
    check("return table.concat(require('ngx.re').split('a,b;c', '[,;]'), '|')", "a|b|c");
    check("return table.concat(require('ngx.re').split('a,b,c', ',', nil, nil, 2), '|')", "a|b,c");
    check("return table.concat(require('ngx.re').split('abc', ''), '|')", "a|b|c");
    check("return table.concat(require('ngx.re').split('a1b2c', '([0-9])'), '|')", "a|1|b|2|c");
}

#[test]
fn an_expression_that_tries_too_much_gives_up() {
    check(
        "local m, e = ngx.re.match(('a'):rep(40) .. 'b', '(a+)+$', 'jo') return m, e",
        "nil pcre_exec() failed: -47",
    );
}

#[test]
fn dictionaries_are_shared() {
    check("local d = ngx.shared.test return d:set('a', 1), d:get('a')", "true 1");
    check("local d = ngx.shared.test d:set('a', 'x', 0, 7) return d:get('a')", "x 7");
    check("local d = ngx.shared.test return d:get(nil)", "nil nil key");
    check(
        "local d = ngx.shared.test return d:get(''), d:set(('k'):rep(70000), 1)",
        "nil nil key too long",
    );
    check("local d = ngx.shared.test d:add('a', true) return d:add('a', 1)", "false exists false");
    check("local d = ngx.shared.test return d:replace('a', 1)", "false not found false");
    check(
        "local d = ngx.shared.test return d:incr('n', 2), d:incr('n', 2, 5), d:incr('n', 1)",
        "nil 7 8",
    );
    check("local d = ngx.shared.test d:set('a', 1) d:set('a', nil) return d:get('a')", "nil");
    check(
        "local d = ngx.shared.test d:rpush('l', 'b') d:lpush('l', 'a') \
           return d:llen('l'), d:lpop('l'), d:rpop('l'), d:lpop('l')",
        "2 a b nil",
    );
    check(
        "local d = ngx.shared.test d:set('a', 1) return d:ttl('a'), d:expire('a', 10), \
           d:ttl('a') > 9, d:ttl('b')",
        "0 true true nil not found",
    );
    check(
        "local d = ngx.shared.test d:set('a', 1, 0.001) ngx.sleep(0.01) \
           local v, f, stale = d:get_stale('a') return d:get('a'), v, stale",
        "nil 1 true",
    );
    check(
        "local d = ngx.shared.test d:set('a', 1) d:set(2, 1) local k = d:get_keys() \
           return #k, k[1]",
        "2 2",
    );
    check(
        "local d = ngx.shared.test d:flush_all() return d:flush_expired(), d:capacity(), \
           d:free_space() <= d:capacity()",
        "0 1048576 true",
    );
    check("return ngx.shared.none", "nil");
    check("local d = ngx.shared.test return d:set('a', {})", "nil bad value type");
}
