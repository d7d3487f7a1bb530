//! Listeners, TLS, and what shapes requests and connections.

use super::Effect::{Ignored, Used};
use super::Kind::{Boolean, Duration, Enum, List, Listen, Number, Path, Size, Switch, Text};
use super::{ANY_FROM_0, Key, NO_NGINX, k};
use crate::conf::listen::Subsystem::{Http, Stream};

#[rustfmt::skip]
pub(super) static LISTENERS: &[Key] = &[
    k("proxy_listen", Listen(Http),
      "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl reuseport backlog=16384", Used,
      "Where proxied HTTP traffic comes in: `off`, or addresses with flags: ssl, http2,\n\
       proxy_protocol, deferred, bind, reuseport, backlog=N, ipv6only=on|off,\n\
       so_keepalive=on|off|[idle]:[interval]:[count]."),
    k("stream_listen", Listen(Stream), "off", Used,
      "Where proxied TCP, TLS and UDP traffic comes in; flags as above without http2 and\n\
       deferred, and with udp, which is not available yet."),
    k("admin_listen", Listen(Http),
      "127.0.0.1:8001 reuseport backlog=16384, 127.0.0.1:8444 http2 ssl reuseport backlog=16384",
      Used,
      "Where the Admin API listens. Who reaches it controls the gateway."),
    k("status_listen", Listen(Http), "127.0.0.1:8007 reuseport backlog=16384", Used,
      "Where the Status API (health, metrics) listens."),
    k("nginx_user", Text, "kong kong", Used,
      "User and group that the gateway runs as when it is started by root, if they exist."),
    k("nginx_worker_processes", Text, "auto", Used,
      "Number of workers; `auto` is one for each processor."),
    k("nginx_daemon", Switch, "on", Used,
      "Whether `start` leaves the gateway running in the background."),
];

#[rustfmt::skip]
pub(super) static TLS: &[Key] = &[
    k("ssl_cipher_suite", Enum(&["modern", "intermediate", "old", "fips", "custom"]),
      "intermediate", Used,
      "Mozilla's choice of TLS versions and ciphers; with `custom` the settings below count."),
    k("ssl_ciphers", Text, "", Used, "Ciphers of the custom suite, by their OpenSSL names."),
    k("ssl_protocols", Text, "TLSv1.2 TLSv1.3", Used, "TLS versions of the custom suite."),
    k("ssl_prefer_server_ciphers", Switch, "on", Used,
      "Whether the server's order of ciphers counts."),
    k("ssl_dhparam", Text, "", Ignored("no cipher that uses it is offered"),
      "Diffie-Hellman parameters."),
    k("ssl_session_tickets", Switch, "on", Used, "Whether sessions are resumed by tickets."),
    k("ssl_session_timeout", Duration, "1d", Used, "How long a session may be resumed."),
    k("ssl_session_cache_size", Size, "10m", Used, "Size of the session cache."),
    k("ssl_cert", List, "", Used,
      "Certificates of the proxy's TLS listeners: paths, PEM text, or PEM text in base64.\n\
       Without any, self-signed ones are made."),
    k("ssl_cert_key", List, "", Used, "Private keys of those certificates, in their order."),
    k("client_ssl", Boolean, "off", Used,
      "Whether a client certificate is sent to upstreams that ask for one."),
    k("client_ssl_cert", Path, "", Used, "That client certificate."),
    k("client_ssl_cert_key", Path, "", Used, "The client certificate's private key."),
    k("admin_ssl_cert", List, "", Used, "Certificates of the Admin API."),
    k("admin_ssl_cert_key", List, "", Used, "Private keys of those certificates."),
    k("status_ssl_cert", List, "", Used, "Certificates of the Status API."),
    k("status_ssl_cert_key", List, "", Used, "Private keys of those certificates."),
];

#[rustfmt::skip]
pub(super) static TRAFFIC: &[Key] = &[
    k("headers", List, "server_tokens, latency_tokens, x-kong-request-id", Used,
      "Headers that are added to answers: `off`, or names of Server, Via,\n\
       X-Kong-Proxy-Latency, X-Kong-Response-Latency, X-Kong-Admin-Latency,\n\
       X-Kong-Upstream-Latency, X-Kong-Upstream-Status, X-Kong-Request-Id;\n\
       `server_tokens` is Server and Via, `latency_tokens` the four latencies."),
    k("headers_upstream", List, "x-kong-request-id", Used,
      "Headers that are added to requests: `off` or X-Kong-Request-Id."),
    k("trusted_ips", List, "", Used,
      "Addresses and blocks of clients whose X-Forwarded-* headers are believed; `unix:` is\n\
       Unix sockets."),
    k("real_ip_header", Text, "X-Real-IP", Used,
      "Header that a trusted client gives the real address in, or `proxy_protocol`."),
    k("real_ip_recursive", Switch, "off", Used,
      "Whether the last address that is not trusted counts, rather than the last."),
    k("client_body_buffer_size", Size, "8k", Used,
      "Another name of `nginx_http_client_body_buffer_size`."),
    k("upstream_keepalive_pool_size", Number(&ANY_FROM_0), "512", Used,
      "Idle connections kept per upstream and worker; 0 keeps none."),
    k("upstream_keepalive_max_requests", Number(&ANY_FROM_0), "10000", Used,
      "Requests after which an upstream connection is closed; 0 is no limit."),
    k("upstream_keepalive_idle_timeout", Number(&ANY_FROM_0), "60", Used,
      "Seconds after which an idle upstream connection is closed; 0 is no limit."),
    k("allow_debug_header", Boolean, "off", Used,
      "Whether the request header `Kong-Debug: 1` gets headers that name route and service."),
];

#[rustfmt::skip]
pub(super) static NGINX: &[Key] = &[
    k("nginx_main_daemon", Switch, "on", Used, "What `nginx_daemon` sets."),
    k("nginx_main_user", Text, "kong kong", Used, "What `nginx_user` sets."),
    k("nginx_main_worker_processes", Text, "auto", Used, "What `nginx_worker_processes` sets."),
    k("nginx_main_worker_rlimit_nofile", Text, "auto", Used,
      "Limit of open files; `auto` raises it to what the system allows."),
    k("nginx_events_worker_connections", Text, "auto", Used,
      "Most connections per worker; `auto` is the limit of open files."),
    k("nginx_events_multi_accept", Switch, "on", NO_NGINX, "Accept as many as there are."),
    k("nginx_http_charset", Text, "UTF-8", NO_NGINX, "Charset of nginx's own pages."),
    k("nginx_http_client_max_body_size", Size, "0", Used,
      "Largest request body; 0 is no limit."),
    k("nginx_http_client_body_buffer_size", Size, "8k", Used,
      "Part of a request body that is kept in memory."),
    k("nginx_http_ssl_protocols", Text, "", Used, "What `ssl_protocols` sets."),
    k("nginx_http_ssl_prefer_server_ciphers", Text, "", Used,
      "What `ssl_prefer_server_ciphers` sets."),
    k("nginx_http_ssl_dhparam", Text, "", NO_NGINX, "What `ssl_dhparam` sets."),
    k("nginx_http_ssl_session_tickets", Text, "", Used, "What `ssl_session_tickets` sets."),
    k("nginx_http_ssl_session_timeout", Text, "", Used, "What `ssl_session_timeout` sets."),
    k("nginx_http_ssl_conf_command", Text, "", NO_NGINX, "OpenSSL settings of listeners."),
    k("nginx_http_proxy_ssl_conf_command", Text, "", NO_NGINX, "OpenSSL settings, upstream."),
    k("nginx_http_lua_ssl_conf_command", Text, "", NO_NGINX, "OpenSSL settings of Lua."),
    k("nginx_http_grpc_ssl_conf_command", Text, "", NO_NGINX, "OpenSSL settings of gRPC."),
    k("nginx_http_lua_ssl_protocols", Text, "", Used, "What `lua_ssl_protocols` sets."),
    k("nginx_http_lua_regex_match_limit", Text, "100000", Used,
      "Steps after which a Lua plugin's regular expression is given up."),
    k("nginx_http_lua_regex_cache_max_entries", Text, "8192", Used,
      "Compiled regular expressions that Lua keeps."),
    k("nginx_http_keepalive_requests", Text, "10000", Used,
      "Requests after which a client's connection is closed."),
    k("nginx_stream_lua_ssl_protocols", Text, "", Used, "What `lua_ssl_protocols` sets."),
    k("nginx_stream_ssl_conf_command", Text, "", NO_NGINX, "OpenSSL settings of listeners."),
    k("nginx_stream_proxy_ssl_conf_command", Text, "", NO_NGINX, "OpenSSL settings, upstream."),
    k("nginx_stream_lua_ssl_conf_command", Text, "", NO_NGINX, "OpenSSL settings of Lua."),
    k("nginx_stream_ssl_protocols", Text, "", Used, "What `ssl_protocols` sets."),
    k("nginx_stream_ssl_prefer_server_ciphers", Text, "", Used,
      "What `ssl_prefer_server_ciphers` sets."),
    k("nginx_stream_ssl_dhparam", Text, "", NO_NGINX, "What `ssl_dhparam` sets."),
    k("nginx_stream_ssl_session_tickets", Text, "", Used, "What `ssl_session_tickets` sets."),
    k("nginx_stream_ssl_session_timeout", Text, "", Used, "What `ssl_session_timeout` sets."),
    k("nginx_proxy_real_ip_header", Text, "X-Real-IP", Used, "What `real_ip_header` sets."),
    k("nginx_proxy_real_ip_recursive", Switch, "off", Used, "What `real_ip_recursive` sets."),
    k("nginx_admin_client_max_body_size", Size, "10m", Used,
      "Largest body of a request to the Admin API; 0 is no limit."),
    k("nginx_admin_client_body_buffer_size", Size, "10m", Used,
      "Part of such a body that is kept in memory."),
];
