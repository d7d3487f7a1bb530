-- `ngx.log` and `print`: a line says where it comes from.

local native = require "silverback.native"

local logs, write, null = native.logs, native.log, native.null
local type, tostring, select, concat = type, tostring, select, table.concat
local getmetatable, getinfo, match = getmetatable, debug.getinfo, string.match

local function shown(value, position)
  local kind = type(value)
  if kind == "string" then return value end
  if value == null then return "null" end
  if kind == "table" then
    local mt = getmetatable(value)
    if not (mt and mt.__tostring) then
      error(("bad argument #%d to 'log' (expected table to have __tostring metamethod)")
            :format(position), 4)
    end
  end
  return tostring(value)
end

-- "file.lua:12: function():" of the code that logs.
local function place()
  local info = getinfo(4, "Sln")
  if not info then return "" end
  local name = info.name and info.name .. "(): " or ""
  return ("%s:%d: %s"):format(match(info.short_src, "[^/]*$"), info.currentline, name)
end

local function line(level, from, ...)
  local parts = { "[lua] ", place() }
  for i = 1, select("#", ...) do parts[i + 2] = shown((select(i, ...)), i + from) end
  write(level, concat(parts))
end

function ngx.log(level, ...)
  if type(level) ~= "number" or level < 0 or level > 8 then
    error("bad log level: " .. tostring(level), 2)
  end
  if logs(level) then line(level, 1, ...) end
end

function print(...)
  if logs(ngx.NOTICE) then line(ngx.NOTICE, 0, ...) end
end
