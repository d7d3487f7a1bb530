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

-- kong.vault (kong/pdk/vault.lua): what goes beyond reading a secret.
kong.vault = kong.vault or {}
local get, is_reference = kong.vault.get, kong.vault.is_reference

-- Calls back with each reference that a table keeps in `$refs`, and with the place of its secret.
local function each_reference(options, callback)
  if type(options) ~= "table" then
    return
  end
  for name, value in pairs(options) do
    if name ~= "$refs" then
      each_reference(value, callback)
    end
  end
  local references = options["$refs"]
  if type(references) ~= "table" then
    return
  end
  for name, reference in pairs(references) do
    if type(reference) == "string" then
      callback(reference, options, name)
    elseif type(reference) == "table" and type(options[name]) == "table" then
      for key, inner in pairs(reference) do
        callback(inner, options[name], key)
      end
    end
  end
end

-- The options with their secrets as they are now.
function kong.vault.update(options)
  each_reference(options, function(reference, record, field)
    local secret, err = get(reference)
    if err then
      kong.log.warn("error updating secret reference ", reference, ": ", err)
    end
    record[field] = secret or ""
  end)
  return options
end

-- Calls back with the options, and once more after a failure, with secrets that were read again.
function kong.vault.try(callback, options)
  local references, seen = {}, {}
  each_reference(options, function(reference)
    if not seen[reference] then
      seen[reference] = true
      references[#references + 1] = reference
    end
  end)
  if #references == 0 then
    return callback(options)
  end
  local result = callback(kong.vault.update(options))
  if result then
    return result
  end
  for _, reference in ipairs(references) do
    native.renew_secret(reference)
  end
  return callback(kong.vault.update(options))
end

-- Reads every secret that a table names, so that it is known when it is needed.
function kong.vault.warmup(input)
  for name, value in pairs(input) do
    for _, part in ipairs({ name, value }) do
      if type(part) == "table" then
        kong.vault.warmup(part)
      elseif is_reference(part) then
        get(part)
      end
    end
  end
end

function kong.vault.flush()
  native.flush_secrets()
end

function kong.vault.init_worker() end

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
