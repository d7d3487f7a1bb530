-- Message authentication by digests, in the manner of lua-resty-openssl.
local native = require "silverback.native"

local mac = {}
local METATABLE = { __index = mac }

-- With a key, "HMAC" and a digest's name; nil and what is wrong.
function mac.new(key, kind, _, algorithm)
  if kind ~= "HMAC" then return nil, 'mac.new: invalid mac type "' .. tostring(kind) .. '"' end
  algorithm = algorithm or "sha1"
  if not native.hasher(algorithm) then
    return nil, 'mac.new: invalid digest type "' .. algorithm .. '"'
  end
  return setmetatable({ key = key, algorithm = algorithm, parts = {} }, METATABLE)
end

function mac.istype(value) return getmetatable(value) == METATABLE end

function mac:update(...)
  for _, text in ipairs { ... } do self.parts[#self.parts + 1] = text end
  return true
end

-- The bytes of all that was put in.
function mac:final(text)
  if text then self:update(text) end
  return native.hmac(self.algorithm, self.key, table.concat(self.parts))
end

function mac:reset()
  self.parts = {}
  return true
end

return mac
