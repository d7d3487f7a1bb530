-- A cache of the worker's that forgets what was used least recently, in the manner of
-- lua-resty-lrucache.

local now = function() return ngx.now() end
local setmetatable, tonumber, type = setmetatable, tonumber, type

local lrucache = { _VERSION = "0.13" }
local METATABLE = { __index = lrucache }

-- Nodes stand in a ring: behind the head is the one that was used last.
local function unlink(node)
  node.before.after, node.after.before = node.after, node.before
end

local function link(head, node)
  node.before, node.after = head, head.after
  head.after.before, head.after = node, node
end

-- A cache of at most that many items.
function lrucache.new(size)
  size = tonumber(size)
  if not size or size < 1 then return nil, "size too small" end
  local head = {}
  head.before, head.after = head, head
  return setmetatable({ nodes = {}, head = head, used = 0, size = size }, METATABLE)
end

-- The value, what is left of an expired one, and the flags.
function lrucache:get(key)
  local node = self.nodes[key]
  if not node then return nil end
  unlink(node)
  link(self.head, node)
  if node.expires and node.expires < now() then return nil, node.value, node.flags end
  return node.value, nil, node.flags
end

-- Keeps a value, for `ttl` seconds if that is given.
function lrucache:set(key, value, ttl, flags)
  local node = self.nodes[key]
  if node then
    unlink(node)
  elseif self.used >= self.size then
    node = self.head.before
    unlink(node)
    self.nodes[node.key] = nil
  else
    node = {}
    self.used = self.used + 1
  end
  node.key, node.value = key, value
  node.expires = ttl and now() + ttl or nil
  node.flags = type(flags) == "number" and flags >= 0 and flags or 0
  self.nodes[key] = node
  link(self.head, node)
end

function lrucache:delete(key)
  local node = self.nodes[key]
  if not node then return false end
  unlink(node)
  self.nodes[key] = nil
  self.used = self.used - 1
  return true
end

function lrucache:count() return self.used end
function lrucache:capacity() return self.size end

-- Keys, the latest used first, at most `max` of them (0: all).
function lrucache:get_keys(max, into)
  local keys, n, node = into or {}, 0, self.head.after
  if not max or max == 0 then max = self.used end
  while node ~= self.head and n < max do
    n = n + 1
    keys[n], node = node.key, node.after
  end
  if into then keys[n + 1] = nil end
  return keys
end

function lrucache:flush_all()
  self.nodes, self.used = {}, 0
  self.head.before, self.head.after = self.head, self.head
end

return lrucache
