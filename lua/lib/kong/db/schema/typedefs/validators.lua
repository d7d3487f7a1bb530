-- What the types of `typedefs` check beyond patterns. Each gives true, or nil and what is wrong.

local http = require "kong.tools.http"
local ip = require "kong.tools.ip"
local strings = require "kong.tools.string"
local uri = require "kong.tools.uri"

local match, gsub, find, sub = string.match, string.gsub, string.find, string.sub
local tostring = tostring

local validators = {
  cookie_name = http.validate_cookie_name,
  header_name = http.validate_header_name,
}

local function host(value, names_only)
  local found, problem = ip.normalize_ip(value)
  if problem == "invalid port number" then return nil, "must not have a port" end
  if not found then return nil, "invalid value: " .. value end
  if names_only and found.type ~= "name" then return nil, "must not be an IP" end
  if found.port then return nil, "must not have a port" end
  return true
end

function validators.host(value) return host(value, false) end
function validators.sni(value) return host(value, true) end

function validators.host_with_optional_port(value)
  local found, problem = ip.normalize_ip(value)
  return found and true or nil, problem
end

function validators.host_with_wildcards(value)
  return validators.host_with_optional_port((gsub(value, "%*", "abc")))
end

function validators.wildcard_host(value)
  local at = find(value, "*", 1, true)
  if at then
    if at ~= 1 and at ~= #value then
      return nil, "wildcard must be leftmost or rightmost character"
    end
    local count
    value, count = gsub(value, "%*", "wildcard")
    if count > 1 then return nil, "only one wildcard must be specified" end
  end
  return host(value, true)
end

function validators.ip(value)
  if ip.is_valid_ip(value) then return true end
  return nil, "not an ip address: " .. value
end

function validators.ip_or_cidr(value)
  if ip.is_valid_ip_or_cidr(value) then return true end
  return nil, "invalid ip or cidr range: '" .. value .. "'"
end

function validators.cidr_v4(value)
  if ip.is_valid_ip_or_cidr_v4(value) then return true end
  return nil, "invalid ipv4 cidr range: '" .. value .. "'"
end

function validators.path(value)
  if not match(value, "^/[%w%.%-_~/%%:@!$&'()*+,;=]*$") then
    return nil, "invalid path: '" .. value ..
                "' (characters outside of the reserved list of RFC 3986 found)", "rfc3986"
  end
  local bad = match(gsub(value, "%%%x%x", "___"), "%%.?.?")
  if bad then return nil, "invalid url-encoded value: '" .. bad .. "'", "percent" end
  return true
end

function validators.router_path(value)
  local ok, problem, code = validators.path(value)
  if code == "percent" then return ok, problem, code end
  if sub(value, 1, 1) ~= "~" then
    local normal = uri.normalize(value, true)
    if value == normal then return true end
    return nil, "non-normalized path, consider use '" .. normal .. "' instead"
  end
  local pattern = sub(value, 2)
  local _, _, wrong = ngx.re.find("", pattern, "aj")
  if wrong then
    return nil, ("invalid regex: '%s' (PCRE returned: %s)"):format(pattern, wrong)
  end
  return true
end

function validators.url(value)
  local parsed, problem = require("socket.url").parse(value)
  if not parsed then return nil, "could not parse url. " .. tostring(problem) end
  if not parsed.host then return nil, "missing host in url" end
  if not parsed.scheme then return nil, "missing scheme in url" end
  return true
end

function validators.name(value)
  if match(value, "^[%w%.%-_~]+$") then return true end
  return nil, "invalid value '" .. value ..
              "': it must only contain alphanumeric and '., -, _, ~' characters"
end

local function utf8(value)
  local ok, position = strings.validate_utf8(value)
  if ok then return true end
  return nil, "invalid utf-8 character sequence detected at position " .. tostring(position)
end

function validators.tag(value)
  local ok, problem = utf8(value)
  if not ok then return nil, problem end
  if match(value, "^[ \033-\043\045\046\048-\126\128-\244]+$") then return true end
  return nil, "invalid tag '" .. value ..
              "': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
end

function validators.utf8_name(value)
  local ok, problem = utf8(value)
  if not ok then return nil, problem end
  if match(value, "^[%w%.%-_~\128-\244]+$") then return true end
  return nil, "invalid value '" .. value ..
              "': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
end

function validators.certificate(value)
  local _, problem = require("resty.openssl.x509").new(value)
  if problem then return nil, "invalid certificate: " .. problem end
  return true
end

function validators.key(value)
  local _, problem = require("resty.openssl.pkey").new(value)
  if problem then return nil, "invalid key: " .. problem end
  return true
end

local function is_reference(value)
  return kong and kong.vault and type(value) == "string" and kong.vault.is_reference(value)
end

function validators.jwk(value)
  if is_reference(value) then return true end
  local key = require("resty.openssl.pkey").new(value, { format = "JWK" })
  if key then return true end
  return false, "could not load JWK, likely not a valid key"
end

local function load_key(value, kind)
  if not value or value == ngx.null then return true end
  return (require("resty.openssl.pkey").new(value, { format = "PEM", type = kind }))
end

function validators.pem_keys(value)
  local public, private = value.public_key, value.private_key
  if is_reference(public) or is_reference(private) then return true end
  local public_key, private_key = load_key(public, "pu"), load_key(private, "pr")
  if not public_key then return false, "could not load public key" end
  if not private_key then return false, "could not load private key" end
  if public_key ~= true and private_key ~= true
     and private_key:to_PEM("public") ~= public_key:to_PEM() then
    return false, "public key does not match private key"
  end
  return true
end

function validators.lua_code(value) return require("kong.tools.sandbox").validate_safe(value) end

return validators
