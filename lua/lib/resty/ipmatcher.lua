-- Matching addresses against lists of addresses and networks, in the manner of
-- lua-resty-ipmatcher.

local native = require "silverback.native"

local type, setmetatable = type, setmetatable

local ipmatcher = { _VERSION = 0.3 }
local methods = {}
local METATABLE = { __index = methods }

-- The address as a 32-bit number; false if it is none.
function ipmatcher.parse_ipv4(text) return native.parse_ipv4(text) end

-- The address as four 32-bit numbers; false if it is none. Brackets are allowed.
function ipmatcher.parse_ipv6(text) return native.parse_ipv6(text) end

local function build(list, values)
  local networks, problem = native.networks(list)
  if not networks then return nil, problem end
  return setmetatable({ networks = networks, values = values }, METATABLE)
end

-- A matcher for a list of addresses and networks ("10.0.0.0/8"); nil and what is wrong.
function ipmatcher.new(list)
  if not list or type(list) ~= "table" then error("missing valid ip argument", 2) end
  return build(list)
end

-- The same for a map of networks to values.
function ipmatcher.new_with_value(map)
  if not map or type(map) ~= "table" then error("missing valid ip argument", 2) end
  local list, values = {}, {}
  for network, value in pairs(map) do
    list[#list + 1], values[#values + 1] = network, value
  end
  return build(list, values)
end

local function found(self, position)
  if not position then return false end
  if not self.values then return true end
  return self.values[position]
end

-- Whether an address is in the list (or its value); nil and a text if it is no address.
function methods:match(address)
  local position, problem = self.networks:find(address)
  if problem then return nil, problem end
  return found(self, position)
end

-- The same for an address of 4 or 16 bytes.
function methods:match_bin(bytes)
  local position, problem = self.networks:find_bin(bytes)
  if problem then return nil, problem end
  return found(self, position)
end

return ipmatcher
