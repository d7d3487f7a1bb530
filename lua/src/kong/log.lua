-- kong.log: lines in the log (kong/pdk/log.lua).
local kong, native = ...
local write, running_name = native.log, native.running_name
local places = native.levels

-- The place of the last level that is written; the gateway says when that changes.
local last = -1
function native.level_changed(place) last = place end

local LEVELS = { "debug", "info", "notice", "warn", "err", "crit", "alert", "emerg" }
local DEFAULT_FORMAT = "%file_src:%line_src %message"
local concat, select, tostring, type = table.concat, select, tostring, type
local getinfo = debug.getinfo

local function text_of(...)
  local count = select("#", ...)
  if count == 1 then
    return tostring((...))
  end
  local parts = { ... }
  for i = 1, count do
    parts[i] = tostring(parts[i])
  end
  return concat(parts, "", 1, count)
end

-- The values that a format can name, by what stands behind the percent sign.
local function modifiers(namespace, info, message)
  return {
    file_src = function() return info and info.short_src:match("([^/]+)$") or "" end,
    line_src = function() return info and tostring(info.currentline) or "" end,
    func_name = function() return info and info.name or "" end,
    message = function() return message end,
    namespace = function() return namespace or "" end,
  }
end

local function formatted(format, namespace, depth, message)
  local info = format:find("%%[flu]") and getinfo(depth + 1, "Sln")
  local values = modifiers(namespace, info, message)
  return (format:gsub("%%([%a_]+)", function(name)
    local value = values[name]
    return value and value() or nil
  end))
end

local methods = {}

-- A facility of its own for logging, with a namespace and a format.
local function new(namespace, format)
  local log = { _format = format or DEFAULT_FORMAT }

  local function level_function(level)
    local place = places[level]
    return function(...)
      if place > last then
        return
      end
      local message = formatted(log._format, namespace, 2, text_of(...))
      write(level, namespace or running_name() or "", message)
    end
  end

  for _, level in ipairs(LEVELS) do
    log[level] = level_function(level)
  end
  log.emerg = nil

  log.deprecation = function(...)
    local count = select("#", ...)
    local metadata = select(count, ...)
    local parts = { ... }
    if count > 0 and type(metadata) == "table" then
      local note = ""
      if metadata.after and metadata.removal then
        note = " (deprecated after " .. metadata.after .. ", scheduled for removal in " ..
               metadata.removal .. ")"
      elseif metadata.after then
        note = " (deprecated after " .. metadata.after .. ")"
      elseif metadata.removal then
        note = " (scheduled for removal in " .. metadata.removal .. ")"
      end
      parts[count] = note
    end
    return log.warn(unpack(parts, 1, count))
  end
  kong.deprecation = kong.deprecation or log.deprecation

  function log.set_format(new_format)
    if new_format and type(new_format) ~= "string" then
      error("format must be a string if specified", 2)
    end
    log._format = new_format or DEFAULT_FORMAT
  end

  function log.new(name, new_format)
    if type(name) ~= "string" then error("namespace must be a string", 2) end
    if name == "" then error("namespace cannot be an empty string", 2) end
    if new_format and type(new_format) ~= "string" then
      error("format must be a string if specified", 2)
    end
    return new(name, new_format)
  end

  local on = true
  local inspect = setmetatable({
    on = function() on = true end,
    off = function() on = false end,
  }, {
    __call = function(_, ...)
      if not on or places.debug > last then
        return
      end
      local parts = {}
      for i = 1, select("#", ...) do
        local value = select(i, ...)
        parts[i] = type(value) == "string" and value or require("inspect")(value)
      end
      write("debug", namespace or running_name() or "", formatted("%file_src:%line_src %message",
            namespace, 2, concat(parts, " ")))
    end,
  })
  log.inspect = inspect

  for name, method in pairs(methods) do
    log[name] = method
  end

  return setmetatable(log, {
    __call = function(_, ...) return log.notice(...) end,
  })
end

-- What the PDK's table has bound beside the levels.
for _, name in ipairs({ "serialize", "set_serialize_value" }) do
  methods[name] = kong.log and kong.log[name]
end

kong.log = new()
