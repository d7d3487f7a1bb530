-- The clock.
local native = require "silverback.native"
return { gettime = function() return native.time_ns() / 1e9 end }
