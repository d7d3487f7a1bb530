-- Types that schemas share (kong/db/schema/typedefs.lua). `typedefs.port { default = 80 }` is the
-- type with something added.

local Schema = require "kong.db.schema"
local constants = require "kong.constants"
local validators = require "kong.db.schema.typedefs.validators"

local typedefs = {}

-- A type: its fields.
local function define(name, fields) typedefs[name] = Schema.define(fields) end

local function text(name, validator, more)
  local fields = more or {}
  fields.type, fields.custom_validator = "string", validators[validator]
  define(name, fields)
end

define("http_method", { type = "string", match = "^%u+$" })
define("protocol", { type = "string", one_of = constants.PROTOCOLS })
text("host", "host")
text("redis_host", "host")
text("host_with_optional_port", "host_with_optional_port")
text("wildcard_host", "wildcard_host")
text("ip", "ip")
text("ip_or_cidr", "ip_or_cidr")
text("cidr_v4", "cidr_v4")
typedefs.cidr = typedefs.cidr_v4
define("port", { type = "integer", between = { 0, 65535 } })
text("path", "path", {
  starts_with = "/",
  match_none = { { pattern = "//", err = "must not have empty segments" } },
})
text("url", "url")
text("cookie_name", "cookie_name")
text("header_name", "header_name")
define("timeout", { type = "integer", between = { 0, 2147483646 } })
define("uuid", { type = "string", uuid = true, auto = true })
define("auto_timestamp_s", { type = "integer", timestamp = true, auto = true })
define("auto_timestamp_ms", { type = "number", timestamp = true, auto = true })
define("ttl", { type = "number", between = { 0, constants.DATABASE.DAO_MAX_TTL } })
text("name", "name", { unique = true })
text("utf8_name", "utf8_name", { unique = true })
text("sni", "sni")
text("redis_server_name", "sni")
text("certificate", "certificate")
text("key", "key")
text("tag", "tag", { required = true })
define("tags", { type = "set", elements = typedefs.tag })
define("capability", { type = "string" })

-- "no_route" and the like: the plugin cannot be set up for one.
for name, kind in pairs { no_route = "routes", no_service = "services", no_consumer = "consumers",
                          no_consumer_group = "consumer_groups" } do
  define(name, { type = "foreign", reference = kind, eq = ngx.null })
end

local HTTP = { "grpc", "grpcs", "http", "https" }
define("protocols", { type = "set", required = true, default = HTTP,
                      elements = typedefs.protocol })
define("protocols_http", { type = "set", required = true, default = HTTP,
                           elements = { type = "string", one_of = HTTP } })

local address = {
  type = "record",
  fields = { { ip = typedefs.ip_or_cidr }, { port = typedefs.port } },
  entity_checks = { { at_least_one_of = { "ip", "port" } } },
}
define("sources", { type = "set", elements = address })
define("destinations", { type = "set", elements = address })
define("methods", { type = "set", elements = typedefs.http_method })
define("hosts", {
  type = "array",
  elements = {
    type = "string",
    match_all = { { pattern = "^[^*]*%*?[^*]*$",
                    err = "invalid wildcard: must have at most one wildcard" } },
    match_any = { patterns = { "^%*%.", "%.%*$", "^[^*]*$" },
                  err = "invalid wildcard: must be placed at leftmost or rightmost label" },
    custom_validator = validators.host_with_wildcards,
  },
})
text("router_path", "router_path", {
  match_any = { patterns = { "^/", "^~/" },
                err = "should start with: / (fixed path) or ~/ (regex path)" },
  match_none = { { pattern = "//", err = "must not have empty segments" } },
})
define("router_paths", { type = "array", elements = typedefs.router_path })
define("headers", {
  type = "map",
  keys = typedefs.header_name,
  values = { type = "array", elements = { type = "string" } },
})
for name, base in pairs { no_sources = "sources", no_destinations = "destinations",
                          no_methods = "methods", no_hosts = "hosts", no_paths = "router_paths",
                          no_headers = "headers" } do
  typedefs[name] = Schema.define(typedefs[base] { eq = ngx.null })
end
define("semantic_version", {
  type = "string",
  match_any = { patterns = { "^%d+[%.%d]*$", "^%d+[%.%d]*%-?.*$" },
                err = "invalid version number: must be in format of X.Y.Z" },
  match_none = { { pattern = "%.%.", err = "must not have empty version segments" } },
})

local secret = { type = "string", required = false, referenceable = true }
define("pem", {
  type = "record",
  required = false,
  fields = {
    { private_key = { type = "string", required = false, referenceable = true,
                      encrypted = true } },
    { public_key = secret },
  },
  entity_checks = { { at_least_one_of = { "private_key", "public_key" } } },
  custom_validator = validators.pem_keys,
})

local jwk_fields = {}
for _, name in ipairs { "issuer", "kty", "use", "key_ops", "alg", "kid", "x5u", "x5c", "x5t",
                        "x5t#S256", "k", "x", "y", "crv", "n", "e", "d", "p", "q", "dp", "dq",
                        "qi", "oth", "r", "t" } do
  local field = { type = "string", required = name == "kid" }
  if name == "key_ops" or name == "x5c" then
    field = { type = "array", required = false, elements = { type = "string", required = false } }
  end
  jwk_fields[#jwk_fields + 1] = { [name] = field }
end
define("jwk", { type = "record", required = false, fields = jwk_fields,
                custom_validator = validators.jwk })

typedefs.queue = require "kong.tools.queue_schema"
typedefs.propagation = require "kong.observability.tracing.propagation.schema"
define("lua_code", {
  type = "map",
  keys = { type = "string", len_min = 1 },
  values = { type = "string", len_min = 1, custom_validator = validators.lua_code },
})

-- What the types are, for people: schemas show it.
for name, text in pairs {
  http_method = "The name of an HTTP method, in capitals.",
  protocol = "A protocol that the gateway speaks.",
  host = "A host: a name or an address.",
  redis_host = "The host of a Redis server: a name or an address.",
  host_with_optional_port = "A host, with or without a port.",
  wildcard_host = "A host name that may begin or end with a wildcard.",
  ip = "An IP address.",
  ip_or_cidr = "An IP address, or a range of them in CIDR notation.",
  cidr_v4 = "A range of IPv4 addresses in CIDR notation.",
  port = "A port, from 0 to 65535.",
  path = "A path, which begins with a slash.",
  url = "A URL with a scheme and a host.",
  cookie_name = "The name of a cookie.",
  header_name = "The name of an HTTP header.",
  timeout = "A time in milliseconds, from 0 to 2^31-2.",
  uuid = "A UUID; one is made where none is given.",
  auto_timestamp_s = "A time in seconds since 1970, set by the gateway.",
  auto_timestamp_ms = "A time in seconds since 1970 with milliseconds, set by the gateway.",
  ttl = "A time to live, in seconds.",
  name = "A unique name of letters, digits, and the characters . - _ ~.",
  utf8_name = "A unique name, in any alphabet.",
  sni = "A name of a server, as TLS clients send it.",
  redis_server_name = "The name of a Redis server, as it is sent to it in TLS.",
  certificate = "A certificate in PEM.",
  key = "A private key in PEM.",
  tag = "A label for grouping and filtering.",
  tags = "Labels for grouping and filtering.",
  no_route = "It can't be set up for a route.",
  no_service = "It can't be set up for a service.",
  no_consumer = "It can't be set up for a consumer.",
  no_consumer_group = "It can't be set up for a group of consumers.",
  protocols = "The protocols on which it runs.",
  protocols_http = "The protocols of HTTP on which it runs.",
  sources = "Where connections come from: addresses and ports.",
  destinations = "Where connections go to: addresses and ports.",
  methods = "HTTP methods.",
  hosts = "Host names, which may have a wildcard at one end.",
  router_path = "A path, or a regular expression behind '~'.",
  router_paths = "Paths, or regular expressions behind '~'.",
  headers = "HTTP headers: lists of values by name.",
  semantic_version = "A version: numbers with dots between them.",
  pem = "A pair of keys in PEM.",
  jwk = "A JSON Web Key.",
  lua_code = "Lua code by name.",
} do
  typedefs[name].description = text
end

return setmetatable(typedefs, {
  __index = function(_, name)
    error("schema typedef error: definition " .. tostring(name) .. " does not exist", 2)
  end,
})
