-- Clocks (kong/tools/time.lua). Nothing here is cached, so that "updated" changes nothing.

local native = require "silverback.native"

local tools = {}

-- Nanoseconds since 1970.
tools.time_ns = native.time_ns

-- Seconds since 1970, to the millisecond.
function tools.get_updated_now()
  ngx.update_time()
  return ngx.now()
end

-- Milliseconds since 1970.
function tools.get_now_ms() return ngx.now() * 1000 end

-- The same, read afresh.
function tools.get_updated_now_ms() return tools.get_updated_now() * 1000 end

-- When the request began, milliseconds since 1970.
function tools.get_start_time_ms() return ngx.req.start_time() * 1000 end

-- Milliseconds of a clock that only goes forward.
function tools.get_updated_monotonic_ms() return native.monotonic_ms() end

local UNITS = { y = 31536000, M = 2592000, w = 604800, d = 86400, h = 3600, m = 60, s = 1 }
UNITS[""] = 1

-- Seconds of a time as nginx writes it: "90", "1h 30m".
function tools.nginx_conf_time_to_seconds(text)
  local total, rest = 0, text:gsub("%s+", "")
  while rest ~= "" do
    local digits, unit, after = rest:match("^(%d+)(%a*)(.*)$")
    if digits and unit == "ms" then
      total, rest = total + tonumber(digits) / 1000, after
    elseif digits and UNITS[unit] then
      total, rest = total + tonumber(digits) * UNITS[unit], after
    else
      error("bad argument #1 'str'", 2)
    end
  end
  if text == "" then error("bad argument #1 'str'", 2) end
  return math.floor(total)
end

return tools
