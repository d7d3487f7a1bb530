-- `kong.worker_events` and `kong.cluster_events`: what plugins tell one another, in all workers, and on
-- all nodes.

local native = require "silverback.native"
local database = require "silverback.database"
local buffer = require "string.buffer"

local handlers = {}

local worker = {}

local hear

local function key(source, event) return source .. "\0" .. (event or "") end

local watching = false

-- Changes of entities reach the worker that the first of a node's is, as they reach one of Kong's: it
-- tells the others where they have to know (kong/runloop/events.lua).
local function watch_entities(source)
  if watching or source ~= "crud" and source ~= "dao:crud" or ngx.worker.id() ~= 0 then return end
  watching = true
  database.hear_changes(function(operation, kind, entity, old)
    local schema = require("kong.db.schema").of(kind)
    local data = { operation = operation, schema = schema, entity = entity, old_entity = old }
    local name = schema and schema.table or kind
    worker.post_local("dao:crud", operation, data)
    worker.post_local("crud", name, data)
    worker.post_local("crud", name .. ":" .. operation, data)
  end)
end

-- Calls a function with (data, event, source) for the events of a source, or for those named.
function worker.register(callback, source, event, ...)
  watch_entities(source)
  -- What other workers tell comes from now on.
  native.listen(hear)
  for _, name in ipairs(event and { event, ... } or { "" }) do
    local list = handlers[key(source, name)] or {}
    handlers[key(source, name)] = list
    list[#list + 1] = callback
  end
end
worker.register_weak = worker.register
worker.subscribe = function(source, event, callback) worker.register(callback, source, event) end

function worker.unregister(callback, source, event)
  local list = handlers[key(source, event)] or {}
  for i = #list, 1, -1 do
    if list[i] == callback then table.remove(list, i) end
  end
end

local function call(list, data, event, source)
  for _, callback in ipairs(list or {}) do
    local ok, problem = pcall(callback, data, event, source)
    if not ok then ngx.log(ngx.ERR, "worker-events: event callback failed; ", tostring(problem)) end
  end
end

-- Tells this worker of an event.
function worker.post_local(source, event, data)
  call(handlers[key(source, event)], data, event, source)
  call(handlers[key(source)], data, event, source)
  return true
end

-- What another worker tells.
function hear(text)
  local event = buffer.decode(text)
  worker.post_local(event.source, event.event, event.data)
end

-- Tells all workers of an event. Data are texts, numbers, booleans and tables of them.
function worker.post(source, event, data)
  local ok, text = pcall(buffer.encode, { source = source, event = event, data = data })
  if not ok then return nil, "failed to serialize event: " .. tostring(text) end
  native.tell(text)
  return worker.post_local(source, event, data)
end
worker.publish = function(scope, source, event, data)
  if scope == "current" then return worker.post_local(source, event, data) end
  return worker.post(source, event, data)
end
function worker.poll() return "done" end
function worker.configured() return true end

local cluster = {}
local subscribers = {}
local listening = false

local function hear_others(channel, data)
  for _, callback in ipairs(subscribers[channel] or {}) do
    local ok, problem = pcall(callback, data)
    if not ok then
      ngx.log(ngx.ERR, "callback of channel '", channel, "' threw an error: ", tostring(problem))
    end
  end
end

-- Calls a function with what other nodes say on a channel. One worker of a node hears it, as in Kong,
-- and tells the others by kong.worker_events where they have to know.
function cluster.subscribe(_, channel, callback)
  if type(channel) ~= "string" then return nil, "channel must be a string" end
  if type(callback) ~= "function" then return nil, "callback must be a function" end
  local list = subscribers[channel] or {}
  subscribers[channel] = list
  list[#list + 1] = callback
  if not listening and ngx.worker.id() == 0 then
    listening = true
    database.hear(hear_others)
  end
  return true
end

-- Tells the other nodes that share the database; without one there are none.
function cluster.broadcast(_, channel, data)
  if type(channel) ~= "string" then return nil, "channel must be a string" end
  if type(data) ~= "string" then return nil, "data must be a string" end
  return database.tell(channel, data)
end

-- Events are looked for all the time.
function cluster.poll() return true end

return { worker = worker, cluster = cluster }
