-- `ngx.shared`: an object for each shared dictionary.

local native = require("silverback.native").shared

local tostring, type, setmetatable = tostring, type, setmetatable

local methods = {}
local METATABLE = { __index = methods }

local function text(key)
  if key == nil or type(key) == "string" then return key end
  return tostring(key)
end

for _, name in ipairs { "get", "get_stale", "delete", "lpop", "rpop", "llen", "ttl" } do
  local work = native[name]
  methods[name] = function(self, key) return work(self[1], text(key)) end
end

for _, name in ipairs { "set", "safe_set", "add", "safe_add", "replace" } do
  local work = native[name]
  methods[name] = function(self, key, value, exptime, flags)
    return work(self[1], text(key), value, exptime, flags)
  end
end

for _, name in ipairs { "lpush", "rpush", "expire" } do
  local work = native[name]
  methods[name] = function(self, key, value) return work(self[1], text(key), value) end
end

function methods:incr(key, value, init, init_ttl)
  return native.incr(self[1], text(key), tonumber(value), tonumber(init), tonumber(init_ttl))
end

for _, name in ipairs { "flush_all", "flush_expired", "capacity", "free_space" } do
  local work = native[name]
  methods[name] = function(self, count) return work(self[1], count) end
end

function methods:get_keys(count) return { native.get_keys(self[1], count) } end

local shared = {}
for name, number in pairs(native.names) do
  shared[name] = setmetatable({ number, name = name }, METATABLE)
end
return shared
