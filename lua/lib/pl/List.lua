-- Lists in the manner of Penlight's pl.List.
local tablex = require "pl.tablex"
local utils = require "pl.utils"

local insert, remove, concat = table.insert, table.remove, table.concat
local min, type, tostring, ipairs = math.min, type, tostring, ipairs

local List = { _name = "List" }
List.__index = List
local function new(items) return setmetatable(items, List) end

-- Items of a table or an iterator.
local function collect(source)
  local items = {}
  if type(source) == "function" then
    for item in source do items[#items + 1] = item end
  else
    for i, item in ipairs(source or {}) do items[i] = item end
  end
  return new(items)
end

function List.new(source) return collect(source) end
function List.range(from, to, step)
  if not to then from, to = 1, from end
  return new(tablex.range(from, to, step))
end
function List.split(text, delimiter) return new(utils.split(text, delimiter or "%s+")) end
function List:clone() return collect(self) end
function List:append(item) self[#self + 1] = item return self end
List.push = insert
function List:extend(more)
  for i = 1, #more do self[#self + 1] = more[i] end
  return self
end
function List:insert(at, item) insert(self, at, item) return self end
function List:put(item) return self:insert(1, item) end
function List:remove(at) remove(self, at) return self end
function List:remove_value(item)
  local at = tablex.find(self, item)
  if at then remove(self, at) end
  return self
end
function List:pop(at)
  if not at then return remove(self) end
  return remove(self, at)
end
List.get = List.pop
function List:index(item, from) return tablex.find(self, item, from) end
function List:contains(item) return tablex.find(self, item) ~= nil end
function List:count(item)
  local n = 0
  for i = 1, #self do
    if self[i] == item then n = n + 1 end
  end
  return n
end
function List:sort(before)
  if before then before = utils.function_arg(1, before) end
  table.sort(self, before)
  return self
end
function List:sorted(before) return collect(self):sort(before) end
function List:reverse()
  local n = #self
  for i = 1, math.floor(n / 2) do self[i], self[n - i + 1] = self[n - i + 1], self[i] end
  return self
end
function List:minmax()
  local low, high = 1e70, -1e70
  for i = 1, #self do
    low, high = min(low, self[i]), math.max(high, self[i])
  end
  return low, high
end
function List:slice(from, to) return tablex.sub(self, from or 1, to) end
function List:clear()
  for i = 1, #self do self[i] = nil end
  return self
end
function List:len() return #self end
function List:chop(from, to) tablex.removevalues(self, from, to) return self end
function List:join(separator)
  return concat(tablex.imap(tostring, self), separator or "")
end
List.concat = concat
function List:foreach(fn, ...) tablex.foreachi(self, fn, ...) end
function List:foreachm(name, ...)
  for i = 1, #self do self[i][name](self[i], ...) end
end
function List:filter(test, argument) return tablex.filter(self, test, argument) end
function List:map(fn, ...) return tablex.imap(fn, self, ...) end
function List:map2(fn, other, ...) return new(tablex.map2(fn, self, other, ...)) end
function List:mapm(name, ...) return tablex.mapmethod(self, name, ...) end
function List:transform(fn, ...) tablex.transform(fn, self, ...) return self end
function List:reduce(fn, start) return tablex.reduce(fn, self, start) end
function List:partition(classify, ...)
  classify = utils.function_arg(1, classify)
  local parts = {}
  for i = 1, #self do
    local key = classify(self[i], ...)
    if key == nil then key = "<nil>" end
    parts[key] = parts[key] or new {}
    parts[key]:append(self[i])
  end
  return parts
end
function List:iter()
  local i = 0
  return function()
    i = i + 1
    return self[i]
  end
end
function List.iterate(source)
  if type(source) == "string" then return source:gmatch(".") end
  if type(source) == "function" then return source end
  return List.iter(source)
end
function List.__concat(a, b) return collect(a):extend(b) end
function List.__eq(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end
function List:__tostring()
  local texts = {}
  for i = 1, #self do
    texts[i] = tostring(self[i])
  end
  return "{" .. concat(texts, ",") .. "}"
end

return setmetatable(List, { __call = function(_, source) return collect(source) end })
