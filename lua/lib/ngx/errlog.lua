-- The log (lua-resty-core, ngx.errlog).
local native = require "silverback.native"
return {
  version = "0.1.28",
  -- The last level that is written.
  get_sys_filter_level = function()
    for level = 8, 1, -1 do
      if native.logs(level) then return level end
    end
    return 0
  end,
  raw_log = function(level, text)
    if type(level) ~= "number" or level < 0 or level > 8 then error("bad log level", 2) end
    native.log(level, tostring(text))
  end,
  set_filter_level = function() return nil, "the level is log_level's" end,
  get_logs = function() return {} end,
}
