-- What a queue is asked for: checks, and older names of the same.

local parameters = {}

local type, assert, ipairs = type, assert, ipairs

local NUMBERS = { "max_batch_size", "max_coalescing_delay", "max_entries", "max_retry_time",
                  "concurrency_limit" }

-- Raises what is wrong with the arguments of `enqueue`.
function parameters.check(conf, handler, handler_conf)
  assert(type(conf) == "table", "arg #1 (queue_conf) must be a table")
  assert(type(handler) == "function", "arg #2 (handler) must be a function")
  assert(handler_conf == nil or type(handler_conf) == "table",
         "arg #3 (handler_conf) must be a table or nil")
  assert(type(conf.name) == "string", "arg #1 (queue_conf) must include a name")
  for _, name in ipairs(NUMBERS) do
    assert(type(conf[name]) == "number", "arg #1 (queue_conf) " .. name .. " must be a number")
  end
  assert(conf.max_bytes == nil or type(conf.max_bytes) == "number",
         "arg #1 (queue_conf) max_bytes must be a number or nil")
end

local warned = {}

-- The same warning once a minute.
local function warn(queue, text)
  local key = queue .. "/" .. text
  if ngx.now() - (warned[key] or -60) >= 60 then
    kong.log.warn(text)
    warned[key] = ngx.now()
  end
end

-- Older settings, their defaults, and what has taken their place.
local OLD = {
  { "retry_count", 10 },
  { "queue_size", 1, "max_batch_size" },
  { "flush_timeout", 2, "max_coalescing_delay" },
  { "batch_span_count", 200, "max_batch_size" },
  { "batch_flush_delay", 3, "max_coalescing_delay" },
}

-- The queue's settings in a plugin's configuration, with a name and a tag for the log.
function parameters.get_plugin_params(plugin, config, name)
  local queue = config.queue or {}
  local id = kong.plugin.get_id()
  queue.log_tag = plugin .. " plugin " .. id
  if config.plugin_instance_name then
    queue.log_tag = queue.log_tag .. " (" .. config.plugin_instance_name .. ")"
  end
  queue.name = queue.name or name or id
  for _, old in ipairs(OLD) do
    local setting, default, now = old[1], old[2], old[3]
    local value = config[setting]
    if value ~= nil and value ~= ngx.null and value ~= default then
      if now then
        queue[now] = value
        warn(queue.name, ("the %s parameter is deprecated, please update your configuration " ..
                          "to use queue.%s instead"):format(setting, now))
      else
        warn(queue.name, ("the %s parameter no longer works, please update your configuration " ..
                          "to use initial_retry_delay and max_retry_time instead"):format(setting))
      end
    end
  end
  return queue
end

return parameters
