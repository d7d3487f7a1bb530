-- Message authentication by digests (RFC 2104), in the manner of lua-resty-hmac.
local native = require "silverback.native"

local hmac = { _VERSION = "0.06", ALGOS = { MD5 = "md5", SHA1 = "sha1", SHA224 = "sha224",
                                          SHA256 = "sha256", SHA384 = "sha384",
                                          SHA512 = "sha512" } }
local METATABLE = { __index = hmac }

-- With a key; MD5 unless one of ALGOS is given.
function hmac.new(_, key, algorithm)
  return setmetatable({ key = key, algorithm = algorithm or "md5", parts = {} }, METATABLE)
end

function hmac:update(text)
  self.parts[#self.parts + 1] = text
  return true
end

-- The bytes (or hexadecimal digits) of all that was put in.
function hmac:final(text, hex)
  if text then self:update(text) end
  local bytes = native.hmac(self.algorithm, self.key, table.concat(self.parts))
  return hex and native.hex(bytes) or bytes
end

function hmac:reset()
  self.parts = {}
  return true
end

return hmac
