-- Digests, in the manner of lua-resty-openssl.
local native = require "silverback.native"

local digest = {}
local METATABLE = { __index = digest }

-- An empty digest (of sha1 where nothing else is said); nil and what is wrong.
function digest.new(algorithm)
  algorithm = algorithm or "sha1"
  local state = native.hasher(algorithm)
  if not state then return nil, 'digest.new: invalid digest type "' .. algorithm .. '"' end
  return setmetatable({ state = state, algorithm = algorithm, text = {} }, METATABLE)
end

function digest.istype(value) return getmetatable(value) == METATABLE end

function digest:update(...)
  for _, text in ipairs { ... } do
    self.state:update(text)
    self.text[#self.text + 1] = text
  end
  return true
end

-- The bytes of all that was put in.
function digest:final(text)
  if text then self:update(text) end
  return self.state:final()
end

function digest:reset()
  self.state:reset()
  self.text = {}
  return true
end

return digest
