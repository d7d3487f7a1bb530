-- Tables: copies, merges, paths (kong/tools/table.lua).

local clone = require "table.clone"
local isarray = require "table.isarray"
local tablex = require "pl.tablex"

local type, pairs, ipairs, next = type, pairs, ipairs, next
local getmetatable, setmetatable, select, unpack = getmetatable, setmetatable, select, unpack
local floor, tostring = math.floor, tostring

local tools = { EMPTY = tablex.readonly({}) }

-- The arguments as a table, `n` of them, nils counted.
function tools.pack(...) return { n = select("#", ...), ... } end

-- The inverse of pack.
function tools.unpack(t, i, j) return unpack(t, i or 1, j or t.n or #t) end

local function put_all(into, from)
  for key, value in pairs(from or {}) do into[key] = value end
  return into
end

-- A new table with the members of both; the second wins.
function tools.table_merge(first, second) return put_all(put_all({}, first), second) end

-- The same, but nulls of the second hide nothing.
function tools.null_aware_table_merge(first, second)
  local merged = put_all({}, first)
  for key, value in pairs(second or {}) do
    if merged[key] == nil or value ~= ngx.null then merged[key] = value end
  end
  return merged
end

-- Whether a table has this value.
function tools.table_contains(t, wanted)
  for _, value in pairs(t or {}) do
    if value == wanted then return true end
  end
  return false
end

local function is_strict_array(t)
  local max, count = 0, 0
  for key in pairs(t) do
    if type(key) ~= "number" or key < 1 or floor(key) ~= key then return false end
    if key > max then max = key end
    count = count + 1
  end
  return count == max
end

-- Whether the keys are 1, 2, 3... as numbers or text.
function tools.is_lapis_array(t)
  if type(t) ~= "table" then return false end
  local i = 0
  for _ in pairs(t) do
    i = i + 1
    if t[i] == nil and t[tostring(i)] == nil then return false end
  end
  return true
end

-- Whether a table is an array: without holes, or by "fast" or "lapis" rules.
function tools.is_array(t, mode)
  if type(t) ~= "table" then return false end
  if mode == "lapis" then return tools.is_lapis_array(t) end
  if mode == "fast" then return isarray(t) end
  return is_strict_array(t)
end

-- A copy all the way down, keys and (unless false) metatables too.
function tools.deep_copy(value, with_metatable)
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, member in next, value do
    copy[tools.deep_copy(key)] = tools.deep_copy(member, with_metatable)
  end
  if with_metatable ~= false then setmetatable(copy, tools.deep_copy(getmetatable(value))) end
  return copy
end

-- A copy of the top level.
function tools.shallow_copy(value)
  return type(value) == "table" and clone(value) or value
end

-- Both tables in one, all the way down; the second wins.
function tools.deep_merge(first, second)
  local merged = tools.deep_copy(first)
  for key, value in pairs(second) do
    if type(value) == "table" and type(merged[key]) == "table" then
      merged[key] = tools.deep_merge(merged[key], value)
    else
      merged[key] = tools.deep_copy(value)
    end
  end
  return merged
end

-- A deep copy that copies a table once however often it is met. Metatables are shared.
function tools.cycle_aware_deep_copy(value, no_metatables, copy_keys, seen)
  if type(value) ~= "table" then return value end
  seen = seen or {}
  if seen[value] then return seen[value] end
  local copy = {}
  seen[value] = copy
  local again = tools.cycle_aware_deep_copy
  for key, member in pairs(value) do
    if copy_keys then key = again(key, no_metatables, copy_keys, seen) end
    copy[key] = again(member, no_metatables, copy_keys, seen)
  end
  local mt = not no_metatables and getmetatable(value)
  return mt and setmetatable(copy, mt) or copy
end

-- The same for a merge.
function tools.cycle_aware_deep_merge(first, second, no_metatables, copy_keys, seen)
  seen = seen or {}
  local merged = tools.cycle_aware_deep_copy(first, no_metatables, copy_keys, seen)
  for key, value in pairs(second) do
    if type(value) ~= "table" then
      merged[key] = value
    elseif type(merged[key]) == "table" then
      local both = tools.cycle_aware_deep_merge
      merged[key] = both(merged[key], value, no_metatables, copy_keys, seen)
    else
      merged[key] = tools.cycle_aware_deep_copy(value, no_metatables, copy_keys, seen)
    end
  end
  return merged
end

-- Several lists in one.
function tools.concat(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, value in ipairs(list) do all[#all + 1] = value end
  end
  return all
end

local ERROR_LIST = {}

-- Notes an error under a key; further ones make a list.
function tools.add_error(errors, key, value)
  errors = errors or {}
  local there = errors[key]
  if not there then
    errors[key] = value
  elseif getmetatable(there) == ERROR_LIST then
    there[#there + 1] = value
  else
    errors[key] = setmetatable({ there, value }, ERROR_LIST)
  end
  return errors
end

-- The value at the end of a path of keys.
function tools.table_path(t, path)
  for _, key in ipairs(path) do
    t = t[key]
    if t == nil then return nil end
  end
  return t
end

return tools
