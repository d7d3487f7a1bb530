-- Random bytes, in the manner of lua-resty-openssl.
local native = require "silverback.native"
return { bytes = function(count) return native.random(count) end }
