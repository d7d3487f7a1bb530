-- The process (lua-resty-core, ngx.process).
local native = require "silverback.native"
return {
  version = "0.1.28",
  type = function() return "worker" end,
  get_master_pid = function() return native.pid end,
  enable_privileged_agent = function() return nil, "there is no privileged agent" end,
  signal_graceful_exit = function() return nil, "not supported" end,
}
