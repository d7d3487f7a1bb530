-- Tables that are used again, in the manner of lua-tablepool.
local new_tab = require "table.new"
local clear = require "table.clear"

local MAX = 200
local pools = {}

return {
  _VERSION = "0.02",
  -- An empty table of a pool's.
  fetch = function(name, array, members)
    local pool = pools[name]
    local n = pool and #pool or 0
    if n == 0 then return new_tab(array or 4, members or 4) end
    local t = pool[n]
    pool[n] = nil
    return t
  end,
  -- Gives a table back, which nobody may use any more.
  release = function(name, t, keep)
    if not t then error("object empty", 2) end
    local pool = pools[name] or {}
    pools[name] = pool
    if #pool >= MAX then return end
    setmetatable(t, nil)
    if not keep then clear(t) end
    pool[#pool + 1] = t
  end,
}
