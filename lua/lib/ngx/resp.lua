-- The answer's headers (lua-resty-core, ngx.resp).
local native = require "silverback.native"
return {
  version = "0.1.28",
  add_header = function(name, value) native.header_add(name, value) end,
  set_status = function(status) ngx.status = status end,
}
