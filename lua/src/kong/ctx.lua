-- kong.ctx: tables that live as long as the request (kong/pdk/ctx.lua).
local kong, native = ...
local here, keep, share = native.here, native.keep, native.share

-- What is kept with an exchange stands under numbers, which the gateway reads without memory.
local SHARED, PLUGINS, CORE = 1, 2, 3

kong.ctx = setmetatable({}, {
  __index = function(_, name)
    local tables, instance, in_step = here()
    if not instance then
      return nil
    end
    if not tables then
      tables = { {}, {}, {} }
      keep(tables)
    end
    if name == "plugin" then
      local plugins = tables[PLUGINS]
      local found = plugins[instance]
      if not found then
        found = {}
        plugins[instance] = found
      end
      return found
    elseif name == "shared" then
      if not in_step then
        share()
      end
      return tables[SHARED]
    elseif name == "core" then
      return tables[CORE]
    end
  end,
})
