-- `kong.worker_events` and `kong.cluster_events`: what plugins tell one another, in all workers.

local native = require "silverback.native"
local buffer = require "string.buffer"

local handlers = {}

local worker = {}

local hear

local function key(source, event) return source .. "\0" .. (event or "") end

-- Calls a function with (data, event, source) for the events of a source, or for those named.
function worker.register(callback, source, event, ...)
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

local cluster = { subscribe = function() return true end, poll = function() return true end }

-- Events for other nodes of a cluster. A node that reads its configuration from a file has none.
function cluster.broadcast(_, channel, data)
  if type(channel) ~= "string" then return nil, "channel must be a string" end
  if type(data) ~= "string" then return nil, "data must be a string" end
  return true
end

return { worker = worker, cluster = cluster }
