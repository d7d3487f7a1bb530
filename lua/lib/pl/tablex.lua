-- Tables in the manner of Penlight's pl.tablex.

local utils = require "pl.utils"

local type, pairs, ipairs, next, sort = type, pairs, ipairs, next, table.sort
local getmetatable, setmetatable, min = getmetatable, setmetatable, math.min
local callable = utils.function_arg

local tablex = {}

local function list(t) return setmetatable(t, require "pl.List") end

function tablex.index_map(t)
  local map = {}
  for i = 1, #t do map[t[i]] = i end
  return map
end
function tablex.makeset(t)
  local set = {}
  for i = 1, #t do set[t[i]] = true end
  return set
end
function tablex.copy(t)
  local copy = {}
  for key, value in pairs(t) do copy[key] = value end
  return copy
end

local function deepcopy(value, seen)
  if type(value) ~= "table" then return value end
  if seen[value] then return seen[value] end
  local copy = {}
  seen[value] = copy
  for key, member in pairs(value) do copy[deepcopy(key, seen)] = deepcopy(member, seen) end
  return setmetatable(copy, getmetatable(value))
end
function tablex.deepcopy(t) return deepcopy(t, {}) end

local function equal(a, b, ignore, epsilon)
  if type(a) ~= type(b) then return false end
  if type(a) == "number" and epsilon then return math.abs(a - b) < epsilon end
  if type(a) ~= "table" then return a == b end
  local mt = getmetatable(a)
  if not ignore and mt and mt.__eq then return a == b end
  for key in pairs(a) do
    if b[key] == nil then return false end
  end
  for key, value in pairs(b) do
    if a[key] == nil or not equal(a[key], value, ignore, epsilon) then return false end
  end
  return true
end
tablex.deepcompare = equal

function tablex.compare(a, b, test)
  if #a ~= #b then return false end
  test = callable(3, test)
  for i = 1, #a do
    if not test(a[i], b[i]) then return false end
  end
  return true
end
function tablex.compare_no_order(a, b, test)
  if #a ~= #b then return false end
  local taken = {}
  for i = 1, #a do
    local found
    for j = 1, #b do
      if not taken[j] and (test and test(a[i], b[j]) or (not test and a[i] == b[j])) then
        found, taken[j] = true, true
        break
      end
    end
    if not found then return false end
  end
  return true
end

function tablex.find(t, value, from)
  from = from or 1
  if from < 0 then from = #t + from + 1 end
  for i = from, #t do
    if t[i] == value then return i end
  end
end
function tablex.rfind(t, value, from)
  for i = from or #t, 1, -1 do
    if t[i] == value then return i end
  end
end
function tablex.find_if(t, test, argument)
  test = callable(2, test)
  for i = 1, #t do
    local found = test(t[i], argument)
    if found then return i, found end
  end
end
function tablex.search(t, wanted)
  for key, value in pairs(t) do
    if value == wanted then return tostring(key) end
    if type(value) == "table" then
      local path = tablex.search(value, wanted)
      if path then return tostring(key) .. "." .. path end
    end
  end
end

function tablex.map(fn, t, ...)
  fn = callable(1, fn)
  local result = {}
  for key, value in pairs(t) do result[key] = fn(value, ...) end
  return setmetatable(result, getmetatable(t))
end
function tablex.imap(fn, t, ...)
  fn = callable(1, fn)
  local result = {}
  for i = 1, #t do result[i] = fn(t[i], ...) or false end
  return list(result)
end
function tablex.transform(fn, t, ...)
  fn = callable(1, fn)
  for key, value in pairs(t) do t[key] = fn(value, ...) end
end
function tablex.map2(fn, a, b, ...)
  fn = callable(1, fn)
  local result = {}
  for key, value in pairs(a) do result[key] = fn(value, b[key], ...) end
  return setmetatable(result, getmetatable(a))
end
function tablex.mapn(fn, ...)
  fn = callable(1, fn)
  local lists, size, result = { ... }, math.huge, {}
  for _, one in ipairs(lists) do size = min(size, #one) end
  for i = 1, size do
    local args = {}
    for j, one in ipairs(lists) do args[j] = one[i] end
    result[#result + 1] = fn(unpack(args))
  end
  return result
end
function tablex.pairmap(fn, t, ...)
  fn = callable(1, fn)
  local result = {}
  for key, value in pairs(t) do
    local made, under = fn(key, value, ...)
    if under == nil then
      result[#result + 1] = made
    else
      result[under] = made
    end
  end
  return result
end
function tablex.mapmethod(t, name, ...)
  local result = {}
  for i = 1, #t do result[i] = t[i][name](t[i], ...) end
  return list(result)
end
function tablex.foreach(t, fn, ...)
  fn = callable(2, fn)
  for key, value in pairs(t) do fn(value, key, ...) end
end
function tablex.foreachi(t, fn, ...)
  fn = callable(2, fn)
  for i = 1, #t do fn(t[i], i, ...) end
end
function tablex.reduce(fn, t, memo)
  fn = callable(1, fn)
  local from = 1
  if memo == nil then memo, from = t[1], 2 end
  for i = from, #t do memo = fn(memo, t[i]) end
  return memo
end
function tablex.filter(t, test, argument)
  test = callable(2, test)
  local result = {}
  for i = 1, #t do
    if test(t[i], argument) then result[#result + 1] = t[i] end
  end
  return list(result)
end
function tablex.zip(...)
  return tablex.mapn(function(...) return { ... } end, ...)
end

function tablex.keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  return list(keys)
end
function tablex.values(t)
  local values = {}
  for _, value in pairs(t) do values[#values + 1] = value end
  return list(values)
end
function tablex.size(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n
end
function tablex.count_map(t, test)
  local counts, taken = {}, {}
  for i = 1, #t do
    local value = t[i]
    if test then
      for known in pairs(taken) do
        if test(value, known) then value = known break end
      end
      taken[value] = true
    end
    counts[value] = (counts[value] or 0) + 1
  end
  return counts
end

function tablex.update(t, more)
  for key, value in pairs(more) do t[key] = value end
  return t
end
function tablex.range(from, to, step)
  local result = {}
  for i = from, to, step or 1 do result[#result + 1] = i end
  return result
end
function tablex.union(a, b) return tablex.merge(a, b, true) end
function tablex.intersection(a, b) return tablex.merge(a, b, false) end
function tablex.merge(a, b, all)
  local result = {}
  for key, value in pairs(a) do
    if all or b[key] ~= nil then result[key] = value end
  end
  if all then tablex.update(result, b) end
  return setmetatable(result, getmetatable(a))
end
function tablex.difference(a, b, symmetric)
  local result = {}
  for key, value in pairs(a) do
    if b[key] == nil then result[key] = value end
  end
  for key, value in pairs(symmetric and b or {}) do
    if a[key] == nil then result[key] = value end
  end
  return setmetatable(result, getmetatable(a))
end

function tablex.insertvalues(t, at, more)
  if not more then at, more = #t + 1, at end
  for i = #t, at, -1 do t[i + #more] = t[i] end
  for i = 1, #more do t[at + i - 1] = more[i] end
  return t
end
function tablex.removevalues(t, from, to)
  for _ = from, to do table.remove(t, from) end
end
function tablex.icopy(into, from, at, first, n)
  at, first = at or 1, first or 1
  for i = 0, (n or #from) - 1 do
    if from[first + i] == nil then break end
    into[at + i] = from[first + i]
  end
  return into
end
function tablex.sub(t, from, to)
  to = to or -1
  if from < 0 then from = #t + from + 1 end
  if to < 0 then to = #t + to + 1 end
  local result = {}
  for i = from, to do result[#result + 1] = t[i] end
  return list(result)
end
function tablex.set(t, value, from, to)
  for i = from or 1, to or #t do t[i] = value end
end
function tablex.new(n, value)
  local t = {}
  for i = 1, n do t[i] = value end
  return t
end
function tablex.clear(t, from)
  for i = from or 1, #t do t[i] = nil end
end

function tablex.sort(t, before)
  local keys, i = tablex.keys(t), 0
  sort(keys, before)
  return function()
    i = i + 1
    return keys[i], t[keys[i]]
  end
end
function tablex.sortv(t, before)
  before = before or function(a, b) return a < b end
  local keys, i = tablex.keys(t), 0
  sort(keys, function(a, b) return before(t[a], t[b]) end)
  return function()
    i = i + 1
    return keys[i], t[keys[i]]
  end
end

-- The table seen through one that can't be written to.
function tablex.readonly(t)
  return setmetatable({}, {
    __index = t,
    __newindex = function() error("Attempt to modify read-only table", 2) end,
    __pairs = function() return next, t, nil end,
    __len = function() return #t end,
    __metatable = false,
  })
end

return tablex
