-- What kong.* has that needs nothing of the gateway.
local kong, native = ...
local null = native.null

-- kong.table (kong/pdk/table.lua)
kong.table = kong.table or {}

local ok, table_new = pcall(require, "table.new")
kong.table.new = function(narr, nrec)
  if type(narr) ~= "number" then error("narr must be a number", 2) end
  if type(nrec) ~= "number" then error("nrec must be a number", 2) end
  return ok and table_new(narr, nrec) or {}
end

local has_clear, table_clear = pcall(require, "table.clear")
kong.table.clear = function(tbl)
  if type(tbl) ~= "table" then error("tbl must be a table", 2) end
  if has_clear then
    return table_clear(tbl)
  end
  for key in pairs(tbl) do
    tbl[key] = nil
  end
end

kong.table.merge = function(t1, t2)
  local result = {}
  for key, value in pairs(t1 or {}) do result[key] = value end
  for key, value in pairs(t2 or {}) do result[key] = value end
  return result
end

-- kong.tracing (kong/pdk/tracing.lua): spans that nobody records.
local span = {}
span.__index = span
for _, name in ipairs({ "set_attribute", "add_event", "record_error", "set_status", "finish",
                        "each_baggage_item", "set_baggage_item", "get_baggage_item", "release" }) do
  span[name] = function() end
end
function span:is_recording() return false end
local no_span = setmetatable({ is_recording = false, should_sample = false }, span)

kong.tracing = kong.tracing or {}
kong.tracing.name = "noop"
function kong.tracing.start_span() return no_span end
function kong.tracing.active_span() return nil end
function kong.tracing.set_active_span() end
function kong.tracing.process_span() end
function kong.tracing.create_span() return no_span end
kong.tracing = setmetatable(kong.tracing, { __call = function() return kong.tracing end })
function kong.tracing.new() return kong.tracing end

-- kong.vault: what goes beyond reading a secret.
kong.vault = kong.vault or {}
local get, is_reference = kong.vault.get, kong.vault.is_reference

-- The table with secrets in the place of references; `$refs` keeps them.
function kong.vault.update(conf)
  if type(conf) ~= "table" then
    return conf
  end
  for name, reference in pairs(conf["$refs"] or {}) do
    if type(reference) == "string" then
      conf[name] = get(reference) or ""
    end
  end
  return conf
end

-- Calls back with the options, once more after a failure with fresh secrets.
function kong.vault.try(callback, options)
  local a, b = callback(options)
  if a then
    return a, b
  end
  if options then
    kong.vault.update(options)
    return callback(options)
  end
  return a, b
end
function kong.vault.flush() end
function kong.vault.warmup() end
function kong.vault.init_worker() end
kong.vault.is_reference = is_reference

-- kong.configuration: settings are read, never written; secrets are hidden by `remove_sensitive`.
local configuration = kong.configuration
if type(configuration) ~= "table" then
  configuration = {}
end
local SECRET = { pg_password = true, pg_ro_password = true, proxy_server = true,
                 declarative_config_string = true, declarative_config_encryption_key = true,
                 declarative_config_encryption_mode = true, proxy_server_ssl_verify = nil }
local readonly = {
  __index = configuration,
  __newindex = function(_, name)
    error("cannot write to configuration field '" .. tostring(name) .. "'", 2)
  end,
  __pairs = function() return pairs(configuration) end,
}
rawset(configuration, "remove_sensitive", function()
  local copy = {}
  for name, value in pairs(configuration) do
    if not SECRET[name] then
      copy[name] = value
    elseif value ~= nil then
      copy[name] = "******"
    end
  end
  return copy
end)
kong.configuration = setmetatable({}, readonly)

kong.licensing = { can_proxy = function() return true end }
kong.null = null
