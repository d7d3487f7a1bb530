-- Clocks (resty.core.time).
local native = require "silverback.native"
return {
  version = "0.1.28",
  monotonic_msec = native.monotonic_ms,
  monotonic_time = function() return native.monotonic_ms() / 1000 end,
}
