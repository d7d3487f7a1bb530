-- Differences of Lua versions in the manner of pl.compat: this is LuaJIT with 5.1's library.
local utils = require "pl.utils"
return {
  lua51 = true, jit = true, jit52 = false, is_windows = false, dir_separator = "/",
  load = utils.load, execute = utils.execute, setfenv = setfenv, getfenv = getfenv,
  warn = function(...) ngx.log(ngx.WARN, ...) end,
}
