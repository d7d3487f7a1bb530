-- Questions about types in the manner of pl.types.
local utils = require "pl.utils"
local types = { is_callable = utils.is_callable, is_type = utils.is_type }

function types.type(value)
  local kind, mt = type(value), getmetatable(value)
  if (kind == "table" or kind == "userdata") and type(mt) == "table" and mt._name then
    return mt._name
  end
  return io.type(value) or kind
end
function types.is_integer(value) return math.ceil(value) == value end
function types.is_empty(value, ignore_spaces)
  if value == nil then return true end
  if type(value) == "table" then return next(value) == nil end
  if type(value) == "string" then
    return value == "" or (ignore_spaces and not value:find("%S")) or false
  end
  return true
end
function types.is_indexable(value)
  local mt = getmetatable(value)
  return type(value) == "table" or (mt ~= nil and mt.__len ~= nil and mt.__index ~= nil)
end
function types.is_iterable(value)
  local mt = getmetatable(value)
  return type(value) == "table" or (mt ~= nil and mt.__pairs ~= nil)
end
function types.is_writeable(value)
  local mt = getmetatable(value)
  return type(value) == "table" or (mt ~= nil and mt.__newindex ~= nil)
end
local TRUE = { yes = true, y = true, ["true"] = true, t = true, ["1"] = true }
function types.to_bool(value, more)
  if type(value) == "boolean" then return value end
  if type(value) == "string" then
    value = value:lower()
    for _, word in ipairs(more or {}) do
      if value == word:lower() then return true end
    end
    return TRUE[value] or false
  end
  if type(value) == "number" then return value ~= 0 end
  return value ~= nil
end
return types
