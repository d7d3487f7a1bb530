-- kong.cache: values that are dear to get (kong/cache, lua-resty-mlcache). A worker keeps its own; a
-- shared dictionary has them for the others, as far as they can be written down, and counts how
-- often a key was no longer good. Other nodes are told by the database.
local kong = ...
local ngx = ngx
local now, type, error, pcall, select = ngx.now, type, error, pcall, select

local FOREVER = math.huge
local MAX = 50000
local shared = ngx.shared and ngx.shared.kong_db_cache
local entries, count = {}, 0
local running = {}

local database = require "silverback.database"
local buffer = require "string.buffer"
local version = database.version

-- Another number as soon as the key may not be good any more. What is cached under the keys of
-- `kong.db` begins with the kind of entity that it is made of.
local function generation(key)
  local own = shared and shared:get("generation:" .. key) or 0
  return own + version(key:match "^([^:]*)")
end

local function seconds(value, default)
  if value == nil then
    value = default
  end
  if not value or value == 0 then
    return FOREVER
  end
  return value
end

local function entry_of(key)
  local entry = entries[key]
  if not entry then
    return nil
  end
  if entry.generation ~= generation(key) then
    entries[key] = nil
    count = count - 1
    return nil
  end
  -- What has ended still serves where nothing newer can be had.
  if entry.ends <= now() then
    return nil, entry
  end
  return entry
end

local function put(key, entry)
  if count >= MAX then
    entries, count = {}, 0
  end
  if not entries[key] then
    count = count + 1
  end
  entries[key] = entry
end

local function keep(key, value, ttl, before)
  local ends = ttl == FOREVER and FOREVER or now() + ttl
  local entry = { value = value, ends = ends, generation = before }
  put(key, entry)
  return entry
end

-- What a worker keeps of an entry: its value, or what `l1_serializer` makes of it.
local function own_form(entry, opts)
  local serializer = opts and opts.l1_serializer
  if not serializer or entry.value == nil then
    return entry.value
  end
  local ok, form, err = pcall(serializer, entry.value)
  if not ok then
    return nil, "l1_serializer threw an error: " .. tostring(form)
  elseif err then
    return nil, err
  elseif form == nil then
    return nil, "l1_serializer returned a nil value"
  end
  entry.value = form
  return form
end

-- What another worker has got for a key, if that is still good; it is kept here too.
local function of_others(key)
  local text = shared and shared:get("value:" .. key)
  if not text then
    return nil
  end
  local entry = buffer.decode(text)
  if entry.generation ~= generation(key) or entry.ends <= now() then
    return nil
  end
  put(key, entry)
  return entry
end

-- For the other workers; what holds functions and the like is for this one alone.
local function share(key, entry)
  if not shared then
    return
  end
  local ok, text = pcall(buffer.encode, entry)
  if ok then
    shared:set("value:" .. key, text, entry.ends ~= FOREVER and entry.ends - now() or 0)
  end
end

-- Hears which keys other nodes have found stale.
local listens = false
local function listen()
  listens = true
  if database.strategy() ~= "postgres" then
    return
  end
  database.hear(function(channel, key)
    if channel == "invalidations" then
      kong.cache:invalidate_local(key)
    end
  end)
end

local function setting(name)
  return kong.configuration and tonumber(kong.configuration[name]) or nil
end

-- Calls back: the value, or why there is none, and how long it is to be kept.
local function call(callback, ...)
  local ok, value, err, ttl = pcall(callback, ...)
  if not ok then
    return nil, "callback threw an error: " .. tostring(value), nil, true
  elseif err then
    return nil, tostring(err)
  end
  return value, nil, type(ttl) == "number" and ttl or nil
end

-- Keeps what was called for, here and for the others: the form that it has here. A callback that
-- gives less than no time has nothing kept.
local function keep_called(key, opts, value, ttl, before)
  if ttl and ttl < 0 then
    return value
  end
  if value == nil then
    ttl = seconds(ttl or (opts and opts.neg_ttl), setting("db_cache_neg_ttl"))
  else
    ttl = seconds(ttl or (opts and opts.ttl), setting("db_cache_ttl"))
  end
  local entry = keep(key, value, ttl, before)
  share(key, entry)
  local form, err = own_form(entry, opts)
  if err then
    entries[key] = nil
    count = count - 1
  end
  return form, err
end

-- Calls back and keeps what it gives: the value, or why there is none.
local function load(key, opts, callback, ...)
  local before = generation(key)
  local value, err, ttl, thrown = call(callback, ...)
  if err then
    local _, stale = entry_of(key)
    local again = opts and opts.resurrect_ttl or setting("db_resurrect_ttl") or 30
    if stale and again > 0 and not thrown then
      kong.log.warn("callback returned an error (", err, ") but a stale value is kept for ", again,
                    "s more (resurrect_ttl)")
      keep(key, stale.value, again, before)
      return stale.value, nil, 4
    end
    return nil, err
  end
  return keep_called(key, opts, value, ttl, before)
end

-- The same, once for however many ask at the same time.
local function load_once(key, opts, callback, ...)
  local other = of_others(key)
  if other then
    local form, err = own_form(other, opts)
    return form, err, 2
  end
  local waiting = running[key]
  if waiting then
    waiting.count = waiting.count + 1
    waiting.semaphore:wait(opts and opts.resty_lock_opts and opts.resty_lock_opts.timeout or 5)
    local entry = entry_of(key)
    if entry then
      return entry.value, nil, 2
    end
  end
  local has, semaphore = pcall(require, "ngx.semaphore")
  local mine = { count = 0, semaphore = has and semaphore.new(0) or nil }
  running[key] = mine.semaphore and mine or nil
  local value, err, level = load(key, opts, callback, ...)
  if running[key] == mine then
    running[key] = nil
  end
  if mine.count > 0 then
    mine.semaphore:post(mine.count)
  end
  return value, err, level or 3
end

local function check_key(key)
  if type(key) ~= "string" then
    error("key must be a string", 3)
  end
end

local function check_options(opts)
  if opts == nil then return end
  if type(opts) ~= "table" then error("opts must be a table", 3) end
  for _, name in ipairs { "ttl", "neg_ttl", "resurrect_ttl" } do
    local value = opts[name]
    if value ~= nil and type(value) ~= "number" then
      error("opts." .. name .. " must be a number", 3)
    elseif value and value < 0 then
      error("opts." .. name .. " must be >= 0", 3)
    end
  end
  if opts.l1_serializer ~= nil and type(opts.l1_serializer) ~= "function" then
    error("opts.l1_serializer must be a function", 3)
  end
end

local cache = {}

-- The value of a key: as kept, or as the callback gives it now.
function cache:get(key, opts, callback, ...)
  check_key(key)
  check_options(opts)
  local entry = entry_of(key)
  if entry then
    return entry.value, nil, 1
  end
  if not listens then
    listen()
  end
  local value, err, level = load_once(key, opts, callback, ...)
  if err then
    return nil, "failed to get from node cache: " .. err
  end
  return value, nil, level
end

-- Has the callback give it anew, whatever is kept: what other workers have kept is over. Where it
-- fails everything stays as it was.
function cache:renew(key, opts, callback, ...)
  check_key(key)
  check_options(opts)
  if type(callback) ~= "function" then error("callback must be a function", 2) end
  local value, err, ttl = call(callback, ...)
  if not err and not (ttl and ttl < 0) then
    self:invalidate_local(key)
  end
  if not err then
    value, err = keep_called(key, opts, value, ttl, generation(key))
  end
  if err then
    return nil, "failed to renew key in node cache: " .. err
  end
  return value
end

function cache:get_bulk(bulk, opts)
  if type(bulk) ~= "table" then error("bulk must be a table", 2) end
  if opts ~= nil and type(opts) ~= "table" then error("opts must be a table", 2) end
  local results = { n = 0 }
  -- Its n counts look-ups, of four members each.
  for i = 1, bulk.n and bulk.n * 4 or #bulk, 4 do
    local value, err, level = self:get(bulk[i], bulk[i + 1], bulk[i + 2], bulk[i + 3])
    local n = results.n
    results[n + 1], results[n + 2], results[n + 3] = value, err, level
    results.n = n + 3
  end
  return results
end

function cache:safe_set(key, value)
  share(key, keep(key, value, seconds(nil, setting("db_cache_ttl")), generation(key)))
  return true
end

-- How long a value is still kept, and the value; nil if there is none.
function cache:probe(key)
  check_key(key)
  local entry = entry_of(key) or of_others(key)
  if not entry then
    return nil
  end
  return entry.ends == FOREVER and 0 or entry.ends - now(), nil, entry.value
end

function cache:invalidate_local(key)
  check_key(key)
  if shared then
    shared:incr("generation:" .. key, 1, 0)
    shared:delete("value:" .. key)
  end
  if entries[key] then
    entries[key] = nil
    count = count - 1
  end
end

function cache:invalidate(key)
  check_key(key)
  self:invalidate_local(key)
  if database.strategy() ~= "postgres" then
    return
  end
  local ok, err = ngx.timer.at(0, function()
    local told, problem = pcall(database.tell_stale, key)
    if not told then
      kong.log.err("other nodes could not be told that a key of kong.cache is stale: ", problem)
    end
  end)
  if not ok then
    kong.log.err("other nodes can't be told that a key of kong.cache is stale: ", err)
  end
end

function cache:purge()
  entries, count = {}, 0
  if shared then
    shared:flush_all()
  end
end

-- After a change of the configuration. A database says which kinds of entities have changed; without one
-- everything may have.
function cache._forget()
  entries, count = {}, 0
  if shared and database.strategy() == "off" then
    shared:flush_all()
  end
end

kong.cache = cache
kong.core_cache = cache
