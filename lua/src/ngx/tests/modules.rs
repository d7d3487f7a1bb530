//! The modules that plugins require.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::check;

#[test]
fn json_is_that_of_lua_cjson() {
    for (value, expect) in [
        ("{1, 2, {}}", "[1,2,{}]"),
        ("{a = 'x/y\\n\\1\\127\"'}", r#"{"a":"x/y\n\u0001\u007f\""}"#),
        ("{1.5, 1e15, 123456789012345, -0.1}", "[1.5,1e+15,1.2345678901234e+14,-0.1]"),
        ("{[1] = 1, [3] = 3}", "[1,null,3]"),
        ("{[1] = 1, [100] = 1}", "nil Cannot serialise table: excessively sparse array"),
        ("print", "nil Cannot serialise function: type not supported"),
        ("0/0", "nil Cannot serialise number: must not be NaN or Infinity"),
        ("{[true] = 1}", "nil Cannot serialise boolean: table key must be a number or string"),
        (
            "{cjson.null, cjson.empty_array, setmetatable({}, cjson.array_mt), \
          setmetatable({}, cjson.empty_array_mt)}",
            "[null,[],[],[]]",
        ),
    ] {
        check(&format!("local cjson = require('cjson.safe') return cjson.encode({value})"), expect);
    }
    for (text, expect) in [
        ("[1, 2.5, true, null]", "[1,2.5,true,null]"),
        (r#"{"a":{"b":[]}}"#, r#"{"a":{"b":{}}}"#),
        ("12345678901234567890", "9.2233720368548e+18"),
        (r#""\u00e9\ud83d\ude00""#, "\"é😀\""),
        ("", "nil Expected value but found T_END at character 1"),
        ("{\"a\" 1}", "nil Expected colon but found T_INTEGER at character 6"),
        ("[1,", "nil Expected value but found T_END at character 4"),
        ("nope", "nil Expected value but found invalid token at character 1"),
        ("1 2", "nil Expected the end but found T_INTEGER at character 3"),
    ] {
        let source = format!(
            "local cjson = require('cjson.safe') local value, e = cjson.decode([==[{text}]==]) \
             if value == nil then return nil, e end return cjson.encode(value)"
        );
        check(&source, expect);
    }
    check("return require('cjson').null == ngx.null", "true");
    check(
        "return pcall(require('cjson').decode, '{')",
        "false Expected object key string but found T_END at character 2",
    );
    check(
        "local c = require('kong.tools.cjson') return c.encode(c.decode_with_array_mt('[]')), \
           c.encode(1234567890123456)",
        "[] 1234567890123456",
    );
    check(
        "local c = require('cjson.safe').new() c.decode_max_depth(2) return c.decode('[[[1]]]')",
        "nil Found too many nested data structures (3) at character 3",
    );
}

#[test]
fn tables_and_strings() {
    check(
        "return require('table.isempty'){}, require('table.nkeys'){1, a = 2}, \
           require('table.isarray'){1, 2}, require('table.isarray'){a = 1}",
        "true 2 true false",
    );
    check(
        "local s = require('kong.tools.string') return s.strip('  a b '), \
           table.concat(s.splitn('a,b,c', ',', 2), '|'), s.bytes_to_str(5497558, 'm')",
        "a b a|b,c 5.24 MiB",
    );
    check(
        "local s = require('kong.tools.string') return s.validate_utf8('a\\255'), \
           s.replace_dashes_lower('A-B'), s.parse_ngx_size('8k')",
        "false a_b 8192",
    );
    check(
        "local t = require('kong.tools.table') return \
           t.deep_merge({a = {b = 1}}, {a = {c = 2}}).a.c, \
           t.is_array({1, nil, 3}), t.table_contains({1, 2}, 2)",
        "2 false true",
    );
    check(
        "local ip = require('kong.tools.ip') return ip.is_valid_ip_or_cidr('10.0.0.0/8'), \
           ip.is_valid_ip('1.2.3'), ip.normalize_ipv6('::1'), ip.hostname_type('a.b')",
        "true false 0000:0000:0000:0000:0000:0000:0000:0001 name",
    );
    check(
        "local m = require('resty.ipmatcher').new{'10.0.0.0/8', '::1'} \
           return m:match('10.1.2.3'), m:match('11.0.0.1'), m:match('::1')",
        "true false true",
    );
    check("return require('kong.tools.uri').normalize('/a/./b/../c//%7e%2f', true)", "/a/c/~%2F");
    check(
        "local u = require('kong.tools.uuid').uuid() return #u, \
           require('kong.tools.uuid').is_valid_uuid(u)",
        "36 true",
    );
    check(
        "local h = require('kong.tools.http') return h.encode_args{a = {1, 2}, b = 'x y'}, \
           h.get_mime_type('text/html'), \
           h.parse_directive_header('max-age=5, no-store')['max-age']",
        "a%5b1%5d=1&a%5b2%5d=2&b=x%20y text/html; charset=utf-8 5",
    );
    check(
        "return require('kong.tools.timestamp').get_timestamps(1234567890).hour",
        "1234566000000",
    );
    check("return require('kong.tools.time').nginx_conf_time_to_seconds('1h 30m')", "5400");
    check(
        "local gzip = require('kong.tools.gzip') \
           return gzip.inflate_gzip(gzip.deflate_gzip('hello'))",
        "hello",
    );
    check(
        "return require('kong.meta').version, require('kong.constants').HEADERS.VIA",
        "3.10.0 Via",
    );
}

#[test]
fn old_plugins_extend_a_class() {
    check(
        "local Base = require('kong.plugins.base_plugin') local Plugin = Base:extend() \
           function Plugin:new() Plugin.super.new(self, 'mine') end \
           function Plugin:access() Plugin.super.access(self) return self._name end \
           local p = Plugin() return p:access(), p:is(Base)",
        "mine true",
    );
}

#[test]
fn types_check_values() {
    check(
        "local t = require('kong.db.schema.typedefs') local port = t.port{default = 80} \
           return port.default, port.between[2], t.port.default",
        "80 65535 nil",
    );
    check(
        "local t = require('kong.db.schema.typedefs') return t.host.custom_validator('a_b.c'), \
           t.host.custom_validator('a:80')",
        "true nil must not have a port",
    );
    check(
        "return pcall(function() return require('kong.db.schema.typedefs').nothing end)",
        "false test:1: schema typedef error: definition nothing does not exist",
    );
    check(
        "return require('kong.db.schema.typedefs').url.custom_validator('x')",
        "nil missing host in url",
    );
}

#[test]
fn caches_forget_what_was_used_least() {
    check(
        "local c = require('resty.lrucache').new(2) c:set('a', 1) c:set('b', 2) c:get('a') \
           c:set('c', 3) return c:get('a'), c:get('b'), c:count()",
        "1 nil 2",
    );
    check(
        "local c = require('resty.lrucache').new(2) c:set('a', 1, 0.001) ngx.sleep(0.01) \
           return c:get('a')",
        "nil 1 0",
    );
}

#[test]
fn urls() {
    check(
        "local u = require('socket.url').parse('https://u:p@h.test:8443/a/b;c?d=e#f') \
           return u.scheme, u.user, u.password, u.host, u.port, u.path, u.query, u.fragment",
        "https u p h.test 8443 /a/b d=e f",
    );
    check(
        "local url = require('socket.url') return url.build(url.parse('http://h/p?q')), \
           url.escape('a b/c'), url.absolute('http://h/a/b', '../c')",
        "http://h/p?q a%20b%2fc http://h/c",
    );
}

#[test]
fn all_modules_load() {
    let names = crate::library::names();
    let list: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    let source = format!(
        "kong = kong or {{}} for _, name in ipairs{{{}}} do local ok, e = pcall(require, name) \
         if not ok then return name, e end end return 'all'",
        list.join(",")
    );
    check(&source, "all");
}

#[test]
fn keys_certificates_and_ciphers() {
    for kind in [
        "type = 'RSA', bits = 2048",
        "type = 'EC', curve = 'prime256v1'",
        "type = 'EC', curve = 'secp521r1'",
        "type = 'ED25519'",
    ] {
        let source = format!(
            "local pkey = require('resty.openssl.pkey') local key = pkey.new{{{kind}}} \
             local signed = key:sign('text', 'sha256') local public = pkey.new(key:to_PEM()) \
             return public:verify(signed, 'text', 'sha256'), \
             public:verify(signed, 'other', 'sha256'), pkey.new(key:to_PEM('private')):is_private()"
        );
        check(&source, "true false true");
    }
    check(
        "local pkey = require('resty.openssl.pkey') local k = pkey.new{type = 'EC'} \
           local raw = {ecdsa_use_raw = true} local s = k:sign('m', 'sha256', nil, raw) \
           return #s, k:verify(s, 'm', 'sha256', nil, raw)",
        "64 true",
    );
    check(
        "local c = require('resty.openssl.cipher') local k, iv = ('k'):rep(32), ('i'):rep(12) \
           local a = c.new('aes-256-gcm') local sealed = a:encrypt(k, iv, 'text', false, 'aad') \
           return c.new('aes-256-gcm'):decrypt(k, iv, sealed, false, 'aad', a:get_aead_tag())",
        "text",
    );
    check(
        "local aes = require('resty.aes'):new('key') \
           return require('resty.string').to_hex(aes:encrypt('hello'))",
        "c12c12fb748a0fa7a30a82eee8d37117",
    );
    check(
        "local kdf = require('resty.openssl.kdf') return require('resty.string').to_hex( \
           kdf.derive{type = kdf.PBKDF2, outlen = 20, pass = 'password', salt = 'salt', \
           md = 'sha1', pbkdf2_iter = 2})",
        "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957",
    );
    check(
        "return require('resty.openssl.mac').new('key', 'HMAC', nil, 'sha256'):final('x') \
           == require('resty.hmac'):new('key', 'sha256'):final('x')",
        "true",
    );
    check(
        "return require('resty.openssl.x509').new('nope')",
        "nil x509.new: error:0480006C:PEM routines::no start line",
    );
}

#[test]
fn the_ffi_knows_what_openresty_declares() {
    check(
        "local ffi = require('ffi') ffi.cdef('int RAND_bytes(u_char *buf, int num);') \
           local s = ffi.new('ngx_str_t', 2, 'ab') \
           return ffi.string(s.data, s.len), ffi.C.RAND_bytes ~= nil, require('ffi') == ffi",
        "ab true true",
    );
}

/// What a snippet gives that uses `kong.cache`, and `make`, which gives its arguments.
#[track_caller]
fn check_cache(source: &str, expect: &str) {
    // The dictionary is one for all tests: each has keys of its own.
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let source = source.replace("'k'", &format!("'k{number}'"));
    let before = "local cache = kong.cache local calls = 0 \
                  local function make(v, e, ttl) calls = calls + 1 return v, e, ttl end ";
    check(&format!("{before}{source}"), expect);
}

#[test]
fn values_are_kept_until_the_configuration_changes() {
    let of = check_cache;
    of(
        "return cache:get('k', nil, make, 5), select(3, cache:get('k', nil, make, 6)), calls",
        "5 1 1",
    );
    of("cache:get('k', nil, make) return cache:get('k', nil, make, 6), calls", "nil 1");
    of(
        "cache:get('k', {ttl = 0.001}, make, 5) ngx.sleep(0.01) \
         return cache:get('k', nil, make, 6)",
        "6 nil 3",
    );
    of("return cache:get('k', nil, make, nil, 'bad')", "nil failed to get from node cache: bad");
    of(
        "cache:get('k', {ttl = 0.001}, make, 5) ngx.sleep(0.01) \
        return cache:get('k', nil, make, nil, 'bad')",
        "5 nil 4",
    );
    of(
        "local v, e = cache:get('k', nil, error, 'oops') return v, e:match('^[^\\n]*')",
        "nil failed to get from node cache: callback threw an error: oops",
    );
    of("cache:get('k', nil, make, 5) cache:invalidate('k') return cache:probe('k')", "nil");
    of(
        "cache:get('k', {ttl = 9}, make, 5) local ttl, _, v = cache:probe('k') \
        return ttl > 8, v",
        "true 5",
    );
    of(
        "local threads = {} for i = 1, 3 do threads[i] = ngx.thread.spawn(function() \
        return cache:get('k', nil, function() ngx.sleep(0.005) return make(7) end) end) end \
        local _, a = ngx.thread.wait(threads[1]) local _, b = ngx.thread.wait(threads[3]) \
        return a, b, calls",
        "7 7 1",
    );
    of(
        "local bulk = {'k', nil, make, 1, 'bulk', nil, make, 2, n = 2} \
        local r = cache:get_bulk(bulk) return r[1], r[4], r.n",
        "1 2 6",
    );
}

/// As lua-resty-mlcache has it.
#[test]
fn values_are_renewed_and_resurrected() {
    let of = check_cache;
    // A callback that throws has nothing resurrected.
    of(
        "cache:get('k', {ttl = 0.001}, make, 5) ngx.sleep(0.01) \
        return cache:get('k', nil, error, 'oops')",
        "nil failed to get from node cache: callback threw an error: oops",
    );
    // How long it is resurrected for, and how often the callback is asked meanwhile.
    of(
        "cache:get('k', {ttl = 0.001}, make, 5) ngx.sleep(0.01) \
        local v, e, level = cache:get('k', {resurrect_ttl = 9}, make, nil, 'bad') \
        return v, e, level, calls, select(3, cache:get('k', nil, make, 6)), calls, \
        cache:probe('k') > 8",
        "5 nil 4 2 1 2 true",
    );
    of(
        "cache:get('k', {ttl = 0.001}, make, 5) ngx.sleep(0.01) \
        return cache:get('k', {resurrect_ttl = 0}, make, nil, 'bad')",
        "nil failed to get from node cache: bad",
    );
    // What the callback says of the time goes before the options; less than none is not kept.
    of("cache:get('k', {ttl = 99}, make, 5, nil, 9) return cache:probe('k') < 10", "true");
    of("cache:get('k', {neg_ttl = 99}, make, nil, nil, 9) return cache:probe('k') < 10", "true");
    of("return cache:get('k', nil, make, 5, nil, -1), cache:probe('k')", "5 nil");
    of(
        "cache:get('k', nil, make, 5) return cache:renew('k', nil, make, 6), \
        cache:get('k', nil, make, 7), calls",
        "6 6 2",
    );
    of(
        "cache:get('k', {ttl = 9}, make, 5) local v, e = cache:renew('k', nil, make, nil, 'bad') \
        return v, e, cache:get('k', nil, make, 7)",
        "nil failed to renew key in node cache: bad 5 nil 1",
    );
    of(
        "return cache:renew('k', {ttl = 9}, make, nil), calls, cache:get('k', nil, make, 7), calls",
        "nil 1 nil 1",
    );
    of(
        "local opts = { l1_serializer = function(v) return v * 2 end } \
        return cache:get('k', opts, make, 5), cache:get('k', opts, make, 6), calls",
        "10 10 1",
    );
    of(
        "local opts = { l1_serializer = function() return nil, 'no form' end } \
        return cache:get('k', opts, make, 5)",
        "nil failed to get from node cache: no form",
    );
    of("return pcall(cache.get, cache, 'k', {ttl = 'x'})", "false opts.ttl must be a number");
    of(
        "return pcall(cache.renew, cache, 'k', {resurrect_ttl = -1})",
        "false opts.resurrect_ttl must be >= 0",
    );
}

#[test]
fn sockets_of_luasocket() {
    check(
        "local s = require('socket.core') local ended \
         local f = s.protect(function(...) return s.newtry(function() ended = true end)(...) end) \
         local a, b = f(1, 2) local c, d = f(nil, 'why') \
         local ok, other = pcall(s.protect(error), 'oops') return a, b, c, d, ended, ok, other",
        "1 2 nil why true false oops",
    );
    check(
        "local s = require('socket') local target = { send = function(self, x) self.x = x return 1 \
         end, close = function(self) self.closed = true end } \
         local sink = s.sink('close-when-done', target) sink('a') sink(nil) \
         return target.x, target.closed, s.skip(1, 5, 6), pcall(s.sink, 'none', target)",
        "a true 6 false test:1: unknown key (none)",
    );
}

#[test]
fn arguments_of_the_admin_api() {
    check(
        "local decode = require('kong.api.arguments').decode local schema = { \
         each_field = function() return pairs { n = { type = 'number' }, \
         l = { type = 'array', elements = { type = 'boolean' } }, \
         r = { type = 'record', fields = { { a = { type = 'integer' } } } } } end } \
         local args = decode({ n = '5', l = 'true', ['r.a'] = '7', ['m[2].x'] = 'y', e = '' }, \
         schema) return args.n + 1, args.l[1], args.r.a + 1, args.m[2].x",
        "6 true 8 y",
    );
}

#[test]
fn groups_of_acl() {
    check(
        "local groups = require('kong.plugins.acl.groups') \
         kong.ctx.shared.authenticated_groups = { 'a', 'b' } \
         local found = groups.get_authenticated_groups() \
         return found[1], found.b, groups.group_in_groups({ 'x', 'b' }, found), \
         groups.consumer_in_groups({ 'x' }, found)",
        "a b true false",
    );
}

#[test]
fn events_and_timers_of_kong() {
    check(
        "kong = kong or {} local events = require('silverback.kong.events').worker local heard \
           events.register(function(data, event) heard = event .. data.a end, 'me', 'e') \
           events.post('me', 'e', {a = 1}) events.post('me', 'other', {a = 2}) return heard",
        "e1",
    );
    check(
        "local timer = require('silverback.kong.timer') local ran = {} \
           timer:named_at('a', 0, function(early, x) ran[1] = x end, 5) \
           timer:named_every('b', 0.001, function() ran[2] = (ran[2] or 0) + 1 \
             timer:cancel('b') end) \
           local again, why = timer:named_every('b', 1, print) \
           while not (ran[1] and ran[2]) do ngx.sleep(0.01) end \
           return ran[1], ran[2], again, why",
        "5 1 nil timer 'b' already exists",
    );
}

#[test]
fn forms_of_several_parts() {
    check(
        "local m = require('multipart')('--b\\r\\nContent-Disposition: form-data; name=\"a\"\\r\\n\
           \\r\\n1\\r\\n--b--', 'multipart/form-data; boundary=b') m:set_simple('c', '2') \
           return m:get('a').value, select(2, m:tostring():gsub('\\r\\n', ''))",
        "1 8",
    );
    check("return require('lua_pack').unpack('\\1\\2\\3', '>CH')", "4 1 515");
    check(
        "return require('date')('2024-01-02T03:04:05Z'):fmt('${http}')",
        "Tue, 02 Jan 2024 03:04:05 GMT",
    );
}
