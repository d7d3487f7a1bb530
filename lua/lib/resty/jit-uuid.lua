-- UUIDs in the manner of lua-resty-jit-uuid.

local native = require "silverback.native"

local find, format, gsub, sub = string.find, string.format, string.gsub, string.sub
local type, tonumber, char, byte = type, tonumber, string.char, string.byte

local uuid = { _VERSION = "0.0.7" }

local FORM = "^" .. ("%x"):rep(8) .. "%-" .. (("%x"):rep(4) .. "%-"):rep(3) .. ("%x"):rep(12) .. "$"

-- Randomness is the system's: there is nothing to seed.
function uuid.seed() return true end

-- A random UUID.
uuid.generate_v4 = native.uuid

-- Whether a text has a UUID's form.
function uuid.is_valid(text)
  return type(text) == "string" and #text == 36 and find(text, FORM) ~= nil
end

local function named(digest, version)
  return function(namespace, name)
    if not uuid.is_valid(namespace) then return nil, "invalid namespace" end
    local raw = gsub(gsub(namespace, "-", ""), "%x%x", function(hex)
      return char(tonumber(hex, 16))
    end)
    local hash = sub(digest(raw .. name), 1, 16)
    local hex = gsub(hash, ".", function(c) return format("%02x", byte(c)) end)
    return format("%s-%s-%s%s-%02x%s-%s", sub(hex, 1, 8), sub(hex, 9, 12), version,
                  sub(hex, 14, 16), tonumber(sub(hex, 17, 18), 16) % 64 + 128,
                  sub(hex, 19, 20), sub(hex, 21, 32))
  end
end

-- Functions that make UUIDs of names in one namespace.
local function factory(generate)
  return function(namespace)
    if not uuid.is_valid(namespace) then return nil, "invalid namespace" end
    return function(name) return generate(namespace, name) end
  end
end

uuid.generate_v3 = named(function(text) return native.digest("md5", text) end, "3")
uuid.generate_v5 = named(function(text) return native.digest("sha1", text) end, "5")
uuid.factory_v3 = factory(uuid.generate_v3)
uuid.factory_v5 = factory(uuid.generate_v5)

return setmetatable(uuid, { __call = uuid.generate_v4 })
