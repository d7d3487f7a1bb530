-- Names and numbers that plugins know (kong/constants.lua).

local function set(list)
  local found = {}
  for _, name in ipairs(list) do found[name] = true end
  return found
end

-- A list that says of each of its members that it has it.
local function list_and_set(list)
  for i = 1, #list do list[list[i]] = true end
  return list
end

local BUNDLED = {
  "acl", "acme", "ai-prompt-decorator", "ai-prompt-guard", "ai-prompt-template", "ai-proxy",
  "ai-request-transformer", "ai-response-transformer", "aws-lambda", "azure-functions",
  "basic-auth", "bot-detection", "correlation-id", "cors", "datadog", "file-log", "grpc-gateway",
  "grpc-web", "hmac-auth", "http-log", "ip-restriction", "jwt", "key-auth", "ldap-auth", "loggly",
  "oauth2", "opentelemetry", "post-function", "pre-function", "prometheus", "proxy-cache",
  "rate-limiting", "redirect", "request-size-limiting", "request-termination",
  "request-transformer", "response-ratelimiting", "response-transformer", "session",
  "standard-webhooks", "statsd", "syslog", "tcp-log", "udp-log", "zipkin",
}

local LEVELS = { debug = 8, info = 7, notice = 6, warn = 5, error = 4, crit = 3, alert = 2,
                 emerg = 1 }
for name, number in pairs { debug = 8, info = 7, notice = 6, warn = 5, error = 4, crit = 3,
                            alert = 2, emerg = 1 } do
  LEVELS[number] = name
end

local constants = {
  CJSON_MAX_PRECISION = 16,
  BUNDLED_PLUGINS = set(BUNDLED),
  DEPRECATED_PLUGINS = {},
  BUNDLED_VAULTS = { env = true },
  DEPRECATED_VAULTS = {},
  RATELIMIT = { PERIODS = { "second", "minute", "hour", "day", "month", "year" } },
  DATABASE = { POSTGRES = { MIN = "9.5" }, DAO_MAX_TTL = 1e8 },
  PROTOCOLS = { "grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp" },
  PROTOCOLS_WITH_SUBSYSTEM = {
    http = "http", https = "http", grpc = "http", grpcs = "http",
    tcp = "stream", tls = "stream", udp = "stream", tls_passthrough = "stream",
  },
  DECLARATIVE_DEFAULT_WORKSPACE_ID = "0dc6f45b-8f8d-40d2-a504-473544ee190b",
  DECLARATIVE_EMPTY_CONFIG_HASH = ("0"):rep(32),
  KEY_FORMATS_MAP = { jwk = true, pem = true },
  KEY_FORMATS = { "jwk", "pem" },
  LOG_LEVELS = LEVELS,
  SCHEMA_NAMESPACES = { PROXY_WASM_FILTERS = "proxy-wasm-filters" },
  SOCKET_DIRECTORY = "sockets",
  DICTS = { "kong", "kong_locks", "kong_db_cache", "kong_db_cache_miss", "kong_cluster_events",
            "kong_healthchecks", "kong_rate_limiting_counters", "kong_secrets" },
}

constants.HEADERS = {
  HOST_OVERRIDE = "X-Host-Override",
  PROXY_LATENCY = "X-Kong-Proxy-Latency",
  RESPONSE_LATENCY = "X-Kong-Response-Latency",
  ADMIN_LATENCY = "X-Kong-Admin-Latency",
  UPSTREAM_LATENCY = "X-Kong-Upstream-Latency",
  UPSTREAM_STATUS = "X-Kong-Upstream-Status",
  CONSUMER_ID = "X-Consumer-ID",
  CONSUMER_CUSTOM_ID = "X-Consumer-Custom-ID",
  CONSUMER_USERNAME = "X-Consumer-Username",
  CREDENTIAL_IDENTIFIER = "X-Credential-Identifier",
  RATELIMIT_LIMIT = "X-RateLimit-Limit",
  RATELIMIT_REMAINING = "X-RateLimit-Remaining",
  CONSUMER_GROUPS = "X-Consumer-Groups",
  AUTHENTICATED_GROUPS = "X-Authenticated-Groups",
  FORWARDED_HOST = "X-Forwarded-Host",
  FORWARDED_PATH = "X-Forwarded-Path",
  FORWARDED_PREFIX = "X-Forwarded-Prefix",
  ANONYMOUS = "X-Anonymous-Consumer",
  REQUEST_ID = "X-Kong-Request-Id",
  VIA = "Via",
  SERVER = "Server",
}

constants.CORE_ENTITIES = list_and_set {
  "workspaces", "consumers", "certificates", "services", "routes", "snis", "upstreams", "targets",
  "plugins", "tags", "ca_certificates", "clustering_data_planes", "parameters", "vaults",
  "key_sets", "keys", "filter_chains",
}

-- Which cache keeps a kind of entity.
constants.ENTITY_CACHE_STORE = setmetatable({}, {
  __index = function(_, kind)
    local core = constants.CORE_ENTITIES[kind] and kind ~= "consumers" and kind ~= "tags"
    return core and "core_cache" or "cache"
  end,
})

constants.RESPONSE_SOURCE = {
  TYPES = { ERROR = "error", EXIT = "exit", SERVICE = "service" },
  NAMES = { error = "kong", exit = "kong", service = "upstream" },
}

return constants
