//! DNS, workers, the router, Lua, WebAssembly.

use super::Effect::{Ignored, Used};
use super::Kind::{Boolean, Duration, Enum, List, Number, Path, Size, Text};
use super::{ABOVE_0, ANY_FROM_0, FROM_0, Key, LUA_MAX, NO_WASM, k};
const AT_ONCE: super::Effect = Ignored("changes are served as soon as they are known");
const A_HUNDRED: super::Effect = Ignored("plugins see 100 unless they ask for more");

#[rustfmt::skip]
pub(super) static DNS: &[Key] = &[
    k("dns_resolver", List, "", Used,
      "Name servers, `ip` or `ip:port`; those of resolv.conf unless set."),
    k("dns_hostsfile", Path, "/etc/hosts", Used, "The hosts file; it is read once, at start."),
    k("dns_order", List, "LAST,SRV,A,CNAME", Used,
      "Record types in the order in which they are asked for; LAST is the last that worked."),
    k("dns_valid_ttl", Number(&ANY_FROM_0), "", Used,
      "Seconds that answers stay valid, instead of what they say themselves."),
    k("dns_stale_ttl", Number(&ANY_FROM_0), "3600", Used,
      "Seconds that an expired answer serves on while it is renewed."),
    k("dns_cache_size", Number(&FROM_0), "10000", Used, "Most cached answers."),
    k("dns_not_found_ttl", Number(&ANY_FROM_0), "30", Used,
      "Seconds that `no such name` and empty answers stay cached."),
    k("dns_error_ttl", Number(&ANY_FROM_0), "1", Used, "Seconds that errors stay cached."),
    k("dns_no_sync", Boolean, "off", Ignored("equal queries are always joined"),
      "Whether equal queries at the same time are all sent."),
    k("new_dns_client", Boolean, "off", Used,
      "Whether the `resolver_*` settings count, rather than the `dns_*` ones."),
    k("resolver_address", List, "", Used, "As `dns_resolver`."),
    k("resolver_hosts_file", Path, "/etc/hosts", Used, "As `dns_hostsfile`."),
    k("resolver_family", List, "A,SRV", Used, "Record types that are asked for: A, AAAA, SRV."),
    k("resolver_valid_ttl", Number(&ANY_FROM_0), "", Used, "As `dns_valid_ttl`."),
    k("resolver_error_ttl", Number(&ANY_FROM_0), "1", Used,
      "Seconds that errors and empty answers stay cached."),
    k("resolver_stale_ttl", Number(&ANY_FROM_0), "3600", Used, "As `dns_stale_ttl`."),
    k("resolver_lru_cache_size", Number(&FROM_0), "10000", Used, "As `dns_cache_size`."),
    k("resolver_mem_cache_size", Size, "5m", Ignored("the cache has one layer here"),
      "Size of the second layer of Kong's DNS cache."),
];

#[rustfmt::skip]
pub(super) static WORKERS: &[Key] = &[
    k("worker_consistency", Enum(&["strict", "eventual"]), "eventual", Used,
      "Whether requests wait until a change of configuration is in force. `strict` is going\n\
       away."),
    k("worker_state_update_frequency", Number(&ABOVE_0), "5", AT_ONCE,
      "Seconds between looks for changes of configuration."),
    k("router_flavor", Enum(&["traditional", "traditional_compatible", "expressions"]),
      "traditional_compatible", Used,
      "How routes are written: by fields, or (`expressions`) in the router's language."),
    k("dedicated_config_processing", Boolean, "on",
      Ignored("configuration is always processed apart from requests"),
      "Whether configuration is processed by a process of its own."),
    k("mem_cache_size", Size, "128m", Used, "Size of each of the two caches of entities."),
    k("worker_events_max_payload", Number(&ANY_FROM_0), "65535",
      Ignored("workers share one process"),
      "Largest event between Kong's worker processes, in bytes."),
];

#[rustfmt::skip]
pub(super) static LUA: &[Key] = &[
    k("lua_max_req_headers", Number(&LUA_MAX), "100", A_HUNDRED,
      "Request headers that plugins see, at most."),
    k("lua_max_resp_headers", Number(&LUA_MAX), "100", A_HUNDRED,
      "Response headers that plugins see, at most."),
    k("lua_max_uri_args", Number(&LUA_MAX), "100", A_HUNDRED,
      "Query arguments that plugins see, at most."),
    k("lua_max_post_args", Number(&LUA_MAX), "100", A_HUNDRED,
      "Form fields that plugins see, at most."),
    k("lua_ssl_trusted_certificate", List, "system", Used,
      "Authorities that outgoing TLS connections trust: paths, PEM text, PEM text in base64,\n\
       or `system` for those of the operating system."),
    k("lua_ssl_verify_depth", Number(&FROM_0), "1", Used,
      "Longest chain of certificates below a trusted authority."),
    k("lua_ssl_protocols", Text, "TLSv1.2 TLSv1.3", Used,
      "TLS versions of plugins' own connections."),
    k("lua_package_path", Text, "./?.lua;./?/init.lua;", Used,
      "Where Lua modules are searched; `;;` is the default path."),
    k("lua_package_cpath", Text, "", Used, "Where Lua modules written in C are searched."),
    k("lua_socket_pool_size", Number(&FROM_0), "256", Used,
      "Idle connections that Lua's sockets keep per address."),
    k("lua_cpu_budget", Duration, "5s", Used,
      "CPU time that the code of a Lua plugin may use without waiting, such as `5s` or `500ms`.\n\
       Code that uses more is stopped: its request is answered with 500, and the log says where\n\
       it was. `0` lets it go on for ever, and keep its worker from everything else."),
    k("lua_max_memory", Size, "1g", Used,
      "Memory that the Lua state of a worker may occupy. Code that needs more fails with\n\
       `not enough memory`, and so does its request; the worker goes on. `0` is without a limit."),
    k("untrusted_lua", Enum(&["on", "off", "sandbox"]), "sandbox", Used,
      "Whether Lua code in plugins' configurations runs, and whether fenced in."),
    k("untrusted_lua_sandbox_requires", List, "", Used,
      "Modules that fenced code may require."),
    k("untrusted_lua_sandbox_environment", List, "", Used,
      "Global variables that fenced code may read."),
];

#[rustfmt::skip]
pub(super) static WASM: &[Key] = &[
    k("wasm", Boolean, "off", NO_WASM, "Whether WebAssembly filters run."),
    k("wasm_filters_path", Path, "", NO_WASM, "Directory of filter modules."),
    k("wasm_dynamic_module", Path, "", NO_WASM, "nginx module that runs filters."),
    k("wasm_filters", List, "bundled,user", NO_WASM, "Filters that may be used."),
];
