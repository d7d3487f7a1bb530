-- `kong.cache` (kong/cache): values by key that a callback makes when they are first asked for.
-- Each worker keeps its own; a change of the configuration empties them, and invalidations reach
-- every worker through a shared dictionary of counters.

local native = require "silverback.native"
local lrucache = require "resty.lrucache"
local semaphore = require "ngx.semaphore"

local setmetatable, xpcall, type, tostring, error = setmetatable, xpcall, type, tostring, error
local traceback = debug.traceback

-- How many values a worker keeps.
local SIZE = 100000
-- How long the second to ask for a value waits for the first, seconds.
local LOCK_TIMEOUT = 5
-- Stands for a value that is not there.
local NONE = {}

local cache = {}
local METATABLE = { __index = cache }

-- A cache of that name.
function cache.new(name)
  return setmetatable({ name = name, values = lrucache.new(SIZE), pending = {} }, METATABLE)
end

local function counters() return ngx.shared.kong_cluster_events or ngx.shared.kong end

-- How often a key was invalidated, in any worker.
local function count(self, key)
  local dict = counters()
  return dict and dict:get(self.name .. ":" .. key) or 0
end

-- Empties the cache when the configuration is another one.
local function refresh(self)
  local view = native.view()
  if view ~= self.view then
    if self.view then self.values:flush_all() end
    self.view = view
  end
end

local function find(self, key)
  refresh(self)
  local entry, stale = self.values:get(key)
  entry = entry or nil
  local any = entry or stale
  if any and any.count ~= count(self, key) then
    self.values:delete(key)
    return nil
  end
  return entry, stale
end

local function setting(name, default)
  local value = kong.configuration and kong.configuration[name]
  return tonumber(value) or default
end

local function keep(self, key, value, ttl)
  local entry = { value = value, count = count(self, key) }
  self.values:set(key, entry, ttl and ttl > 0 and ttl or nil)
  return entry
end

local function kept(entry, level)
  local value = entry.value
  if value == NONE then value = nil end
  return value, nil, level
end

-- Calls back, and keeps what comes of it.
local function load_value(self, key, options, stale, callback, ...)
  local ran, value, err, ttl = xpcall(callback, traceback, ...)
  if not ran or err ~= nil then
    local resurrect = options.resurrect_ttl or setting("db_resurrect_ttl", 30)
    if stale and resurrect > 0 then
      keep(self, key, stale.value, resurrect)
      return kept(stale, 4)
    end
    if not ran then err = "callback threw an error: " .. tostring(value) end
    return nil, "failed to get from node cache: " .. tostring(err)
  end
  if ttl and ttl < 0 then return value, nil, 3 end
  local usual
  if value == nil then
    usual = options.neg_ttl or setting("db_cache_neg_ttl", setting("db_cache_ttl", 0))
    value = NONE
  else
    usual = options.ttl or setting("db_cache_ttl", 0)
    if options.l1_serializer then
      local made, problem = options.l1_serializer(value)
      if made == nil then return nil, problem end
      value = made
    end
  end
  return kept(keep(self, key, value, ttl or usual), 3)
end

-- One callback at a time for a key; the others wait for what it gives.
local function load_alone(self, key, options, stale, callback, ...)
  local waiting = self.pending[key]
  if waiting then
    waiting.count = waiting.count + 1
    local ok, problem = waiting.semaphore:wait(LOCK_TIMEOUT)
    if not ok then return nil, "could not acquire callback lock: " .. tostring(problem) end
    local entry = find(self, key)
    if entry then return kept(entry, 2) end
    return load_value(self, key, options, stale, callback, ...)
  end
  local mine = { semaphore = semaphore.new(), count = 0 }
  self.pending[key] = mine
  local value, err, level = load_value(self, key, options, stale, callback, ...)
  self.pending[key] = nil
  if mine.count > 0 then mine.semaphore:post(mine.count) end
  return value, err, level
end

-- The value of a key: what is kept, or else what the callback gives (value, error, ttl). Options:
-- ttl, neg_ttl (seconds; 0 for ever), resurrect_ttl, l1_serializer.
function cache:get(key, options, callback, ...)
  if type(key) ~= "string" then error("key must be a string", 2) end
  local entry, stale = find(self, key)
  if entry then return kept(entry, 1) end
  if type(callback) ~= "function" then
    if callback == nil then return nil end
    error("callback must be a function", 2)
  end
  return load_alone(self, key, options or {}, stale, callback, ...)
end

-- Several at once: the flat list of mlcache's bulks; each result is a value, an error and a level.
function cache:get_bulk(bulk)
  if type(bulk) ~= "table" then error("bulk must be a table", 2) end
  local results, n = { n = (bulk.n or 0) * 3 }, 0
  for i = 1, (bulk.n or 0) * 4, 4 do
    local value, err, level = self:get(bulk[i], bulk[i + 1], bulk[i + 2], bulk[i + 3])
    results[n + 1], results[n + 2], results[n + 3] = value, err, level
    n = n + 3
  end
  return results
end

-- What is left of a value's time (-1 for ever), no error, and the value; nil if it is not kept.
function cache:probe(key)
  if type(key) ~= "string" then error("key must be a string", 2) end
  local entry = find(self, key)
  if not entry then return nil end
  local node = self.values.nodes[key]
  local ttl = node and node.expires and node.expires - ngx.now() or -1
  return ttl, nil, (kept(entry, 1))
end

-- Keeps a value without a callback.
function cache:safe_set(key, value, ttl)
  keep(self, key, value == nil and NONE or value, ttl)
  return true
end

-- Makes a value afresh.
function cache:renew(key, options, callback, ...)
  self:invalidate_local(key)
  return self:get(key, options, callback, ...)
end

-- Forgets a key in this worker.
function cache:invalidate_local(key)
  if type(key) ~= "string" then error("key must be a string", 2) end
  self.values:delete(key)
end

-- Forgets a key in all workers.
function cache:invalidate(key)
  self:invalidate_local(key)
  local dict = counters()
  if dict then dict:incr(self.name .. ":" .. key, 1, 0) end
end

-- Forgets everything in this worker.
function cache:purge() self.values:flush_all() end

return cache
