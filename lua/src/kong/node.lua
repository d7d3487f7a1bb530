-- kong.node.get_memory_stats: what this worker's Lua and the shared dictionaries occupy
-- (kong/pdk/node.lua).
local kong = ...
local ngx = ngx
local error, pairs, pcall, tonumber, type = error, pairs, pcall, tonumber, type
local bytes_to_str = require("kong.tools.string").bytes_to_str

function kong.node.get_memory_stats(unit, scale)
  unit, scale = unit or "b", scale or 2
  local ok, err = pcall(bytes_to_str, 0, unit, scale)
  if not ok then
    error(err, 2)
  end
  local function sized(bytes)
    local text = bytes_to_str(bytes, unit, scale)
    return tonumber(text) or text
  end
  local dicts = {}
  for name, dict in pairs(ngx.shared) do
    local capacity = type(dict) == "table" and dict:capacity()
    if capacity then
      dicts[name] = { capacity = sized(capacity),
                      allocated_slabs = sized(capacity - dict:free_space()) }
    end
  end
  local vm = { http_allocated_gc = sized(collectgarbage("count") * 1024), pid = ngx.worker.pid() }
  return { workers_lua_vms = { vm }, lua_shared_dicts = dicts }
end
