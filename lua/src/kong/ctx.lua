-- kong.ctx: tables that live as long as the request (kong/pdk/ctx.lua).
local kong, native = ...

local KEEP = { plugin = native.keep_plugin, shared = native.keep_shared, core = native.keep_core }

local ctx = setmetatable({}, {})
kong.ctx = ctx
getmetatable(ctx).__index = native.index(function(name)
  KEEP[name]({})
  -- What others have left among the shared values is put into it.
  return ctx[name]
end)
