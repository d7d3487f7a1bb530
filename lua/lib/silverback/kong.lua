-- What `kong` has beyond the PDK's functions: timers and events.

local native = require "silverback.native"

local kong = kong

-- Calls a function for one in front of it: errors name the place of that one's caller. Tail calls
-- would hide it.
local function call(fn, ...)
  local ok, value, problem = pcall(fn, ...)
  if not ok then error(value, 3) end
  return value, problem
end

-- Modules of plugins ask for the machine's name when they are loaded.
local get_hostname = kong.node and kong.node.get_hostname
if get_hostname then
  kong.node.get_hostname = function()
    local hostname = native.hostname
    if native.exchange() then hostname = call(get_hostname) end
    return hostname
  end
end

-- The same for the node's id, which is set, or stands in the prefix.
local get_id = kong.node and kong.node.get_id
if get_id then
  kong.node.get_id = function()
    local id
    if native.exchange() then
      id = call(get_id)
    else
      local settings = kong.configuration or {}
      local file = io.open(tostring(settings.prefix) .. "/kong.id")
      id = settings.node_id or file and file:read("*l") or nil
      if file then file:close() end
    end
    return id
  end
end

-- Headers are found by any spelling of their names.
for _, part in ipairs { kong.request or {}, kong.response or {},
                        kong.service and kong.service.response or {} } do
  local get_headers, with_spellings = part.get_headers, native.with_spellings
  if get_headers then
    part.get_headers = function(most)
      local headers, problem = call(get_headers, most)
      return with_spellings(headers), problem
    end
  end
end

-- Captures without a name are a list, however few.
local get_uri_captures = kong.request and kong.request.get_uri_captures
if get_uri_captures then
  local array_mt = require("cjson").array_mt
  kong.request.get_uri_captures = function(ctx)
    local captures = call(get_uri_captures, ctx)
    if captures and captures.unnamed then setmetatable(captures.unnamed, array_mt) end
    return captures
  end
end

kong.timer = require "silverback.kong.timer"
kong.worker_events = require "silverback.kong.events".worker
kong.cluster_events = require "silverback.kong.events".cluster
