-- Message authentication by digests, in the manner of lua-resty-openssl.
local native = require "silverback.native"

local hmac = {}
local METATABLE = { __index = hmac }

-- With a key and a digest's name (sha1); nil and what is wrong.
function hmac.new(key, algorithm)
  algorithm = algorithm or "sha1"
  if not native.hasher(algorithm) then
    return nil, 'hmac.new: invalid digest type "' .. algorithm .. '"'
  end
  return setmetatable({ key = key, algorithm = algorithm, parts = {} }, METATABLE)
end

function hmac.istype(value) return getmetatable(value) == METATABLE end

function hmac:update(...)
  for _, text in ipairs { ... } do self.parts[#self.parts + 1] = text end
  return true
end

-- The bytes of all that was put in.
function hmac:final(text)
  if text then self:update(text) end
  return native.hmac(self.algorithm, self.key, table.concat(self.parts))
end

function hmac:reset()
  self.parts = {}
  return true
end

return hmac
