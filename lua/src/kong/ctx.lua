-- kong.ctx: tables that live as long as the request (kong/pdk/ctx.lua).
local kong, native = ...
local request_tables, running = native.request_tables, native.running

local plugin_of = function(tables)
  local number = running() or 0
  local plugins = tables.plugins
  local table = plugins[number]
  if not table then
    table = {}
    plugins[number] = table
  end
  return table
end

kong.ctx = setmetatable({}, {
  __index = function(_, name)
    local tables = request_tables()
    if not tables then
      return nil
    end
    if name == "shared" then
      return tables.shared
    elseif name == "plugin" then
      return plugin_of(tables)
    elseif name == "core" then
      local core = tables.core
      if not core then
        core = {}
        tables.core = core
      end
      return core
    end
  end,
})
