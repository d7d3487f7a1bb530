-- Addresses and host names (kong/tools/ip.lua).

local ipmatcher = require "resty.ipmatcher"
local strings = require "kong.tools.string"

local type, tonumber, lower, format, rep = type, tonumber, string.lower, string.format, string.rep
local match, gsub, find, sub = string.match, string.gsub, string.find, string.sub

local tools = {}

local function is_v4(text) return type(text) == "string" and ipmatcher.parse_ipv4(text) ~= false end
local function is_v6(text) return type(text) == "string" and ipmatcher.parse_ipv6(text) ~= false end

local function is_cidr(text, is_address, longest)
  if type(text) ~= "string" then return false end
  local address, prefix = match(text, "^([^/]*)/(%d+)$")
  local bits = tonumber(prefix)
  if not bits or bits > longest or (#prefix > 1 and sub(prefix, 1, 1) == "0") then return false end
  return is_address(address)
end

tools.is_valid_ipv4, tools.is_valid_ipv6 = is_v4, is_v6
function tools.is_valid_ip(text) return is_v4(text) or is_v6(text) end
function tools.is_valid_cidr_v4(text) return is_cidr(text, is_v4, 32) end
function tools.is_valid_cidr_v6(text) return is_cidr(text, is_v6, 128) end
function tools.is_valid_cidr(text)
  return tools.is_valid_cidr_v4(text) or tools.is_valid_cidr_v6(text)
end
function tools.is_valid_ip_or_cidr_v4(text) return is_v4(text) or tools.is_valid_cidr_v4(text) end
function tools.is_valid_ip_or_cidr_v6(text) return is_v6(text) or tools.is_valid_cidr_v6(text) end
function tools.is_valid_ip_or_cidr(text)
  return tools.is_valid_ip(text) or tools.is_valid_cidr(text)
end

-- "ipv4", "ipv6" or "name", by the look of it.
function tools.hostname_type(name)
  local rest, colons = gsub(name, ":", "")
  if colons > 1 then return "ipv6" end
  return match(rest, "^[%d%.]+$") and "ipv4" or "name"
end

-- An IPv4 address without leading zeros, and its port if it has one; nil and what is wrong.
function tools.normalize_ipv4(address)
  local host, port = match(address, "^([%d%.]+):(%d+)$")
  local parts = { match(host or address, "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$") }
  for i = 1, 4 do
    parts[i] = tonumber(parts[i])
    if not parts[i] or parts[i] > 255 then return nil, "invalid ipv4 address: " .. address end
  end
  port = tonumber(port)
  if port and port > 65535 then return nil, "invalid port number" end
  return format("%d.%d.%d.%d", parts[1], parts[2], parts[3], parts[4]), port
end

-- Eight groups of four digits of an IPv6 address; nothing if it is none.
local function expand(text)
  if sub(text, 1, 1) == ":" then text = "0" .. text end
  if sub(text, -1) == ":" then text = text .. "0" end
  if find(text, "::", 1, true) then
    local _, colons = gsub(text, ":", "")
    text = gsub(text, "::", ":" .. rep("0:", 8 - colons), 1)
  end
  local groups = strings.splitn(text, ":")
  if #groups ~= 8 then return nil end
  for i = 1, 8 do
    if not match(groups[i], "^%x%x?%x?%x?$") then return nil end
    groups[i] = rep("0", 4 - #groups[i]) .. lower(groups[i])
  end
  return table.concat(groups, ":")
end

-- An IPv6 address, written out, and its port where it was in brackets; nil and what is wrong.
function tools.normalize_ipv6(address)
  local inner, rest = match(address, "^%[(.-)%](.*)$")
  local port
  if inner and rest ~= "" then
    port = tonumber(match(rest, "^:(%d+)$"))
    if not port then return nil, "invalid ipv6 address" end
    if port > 65535 then return nil, "invalid port number" end
  end
  local expanded = expand(inner or address)
  if not expanded then return nil, "invalid ipv6 address: " .. address end
  return expanded, port
end

-- A host name and its port, if it has one; nil and what is wrong.
function tools.check_hostname(address)
  local name, port = address, match(address, ":(%d+)$")
  if port then
    name, port = sub(name, 1, -#port - 2), tonumber(port)
    if port > 65535 then return nil, "invalid port number" end
  end
  local valid = match(name, "^[%w%-%._]+$")
  local labels, count = strings.splitn(name, ".")
  for i = 1, count do
    if (labels[i] == "" and i < count) or sub(labels[i], -1) == "-" then valid = false end
  end
  if not valid then return nil, "invalid hostname: " .. address end
  return name, port
end

local BY_TYPE = {
  ipv4 = tools.normalize_ipv4, ipv6 = tools.normalize_ipv6, name = tools.check_hostname,
}

-- The type, host and port of an address or a name; nil and what is wrong.
function tools.normalize_ip(address)
  local kind = tools.hostname_type(address)
  local host, port = BY_TYPE[kind](address)
  if not host then return nil, port end
  return { type = kind, host = host, port = port }
end

-- As URLs write it: brackets around IPv6. Takes what normalize_ip gives, errors included.
function tools.format_host(host, port)
  if host == nil then return nil, port end
  local kind
  if type(host) == "table" then
    host, port, kind = host.host, host.port or port, host.type
  elseif type(host) ~= "string" then
    return nil, "cannot format type '" .. type(host) .. "'"
  end
  port = port and ":" .. port or ""
  if (kind or tools.hostname_type(host)) == "ipv6" and not find(host, "[", 1, true) then
    return "[" .. tools.normalize_ipv6(host) .. "]" .. port
  end
  return host .. port
end

return tools
