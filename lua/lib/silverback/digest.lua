-- Digests as objects, in the manner of lua-resty-string.
local native = require "silverback.native"

-- The module of an algorithm.
return function(algorithm)
  local module = { _VERSION = "0.15" }
  local METATABLE = { __index = module }
  -- An empty digest.
  function module.new() return setmetatable({ state = native.hasher(algorithm) }, METATABLE) end
  function module:update(text, length)
    self.state:update(length and text:sub(1, length) or text)
    return true
  end
  -- The digest's bytes of all that was put in.
  function module:final() return self.state:final() end
  function module:reset()
    self.state:reset()
    return true
  end
  return module
end
