-- Values as readable text, in the manner of inspect.lua.

local tostring, type, format, rep, huge = tostring, type, string.format, string.rep, math.huge
local floor, sort, concat = math.floor, table.sort, table.concat

local inspect = { KEY = setmetatable({}, { __tostring = function() return "inspect.KEY" end }),
                  METATABLE = setmetatable({}, {
                    __tostring = function() return "inspect.METATABLE" end }) }

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
               return then true until while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

local ESCAPES = { ["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
                  ["\t"] = "\\t", ["\v"] = "\\v", ["\127"] = "\\127" }

local function quoted(text)
  text = text:gsub("\\", "\\\\"):gsub("[%c\127]", function(c)
    return ESCAPES[c] or format("\\%d", c:byte())
  end)
  if text:find('"', 1, true) and not text:find("'", 1, true) then return "'" .. text .. "'" end
  return '"' .. text:gsub('"', '\\"') .. '"'
end

local ORDER = { number = 1, boolean = 2, string = 3, table = 4, ["function"] = 5, userdata = 6,
                thread = 7 }

local function before(a, b)
  local kind, other = type(a), type(b)
  if kind == other and (kind == "string" or kind == "number") then return a < b end
  local first, second = ORDER[kind] or 100, ORDER[other] or 100
  if first == second then return tostring(a) < tostring(b) end
  return first < second
end

-- The keys that are no part of the sequence, in order, and the sequence's length.
local function keys_of(t)
  local length, keys = #t, {}
  for key in next, t do
    local in_sequence = type(key) == "number" and floor(key) == key and key >= 1 and key <= length
    if not in_sequence then keys[#keys + 1] = key end
  end
  sort(keys, before)
  return keys, length
end

local function count_appearances(value, counts)
  if type(value) ~= "table" then return end
  counts[value] = (counts[value] or 0) + 1
  if counts[value] > 1 then return end
  for key, member in next, value do
    count_appearances(key, counts)
    count_appearances(member, counts)
  end
  count_appearances(getmetatable(value), counts)
end

local Writer = {}
Writer.__index = Writer

function Writer:put(...)
  for i = 1, select("#", ...) do self.out[#self.out + 1] = (select(i, ...)) end
end

function Writer:id_of(value)
  if not self.ids[value] then
    local kind = type(value)
    self.last[kind] = (self.last[kind] or 0) + 1
    self.ids[value] = self.last[kind]
  end
  return self.ids[value]
end

function Writer:new_line(level) self:put(self.newline, rep(self.indent, level)) end

function Writer:key(key)
  if type(key) == "string" and key:find "^[_%a][_%w]*$" and not KEYWORDS[key] then
    self:put(key)
  else
    self:put "["
    self:value(key, 0)
    self:put "]"
  end
end

function Writer:table(t, level)
  if level >= self.depth then return self:put "{...}" end
  if self.written[t] then return self:put("<table ", self:id_of(t), ">") end
  if self.counts[t] > 1 then self:put("<", self:id_of(t), ">") end
  self.written[t] = true
  local keys, length = keys_of(t)
  local mt = getmetatable(t)
  if type(mt) ~= "table" then mt = nil end
  self:put "{"
  for i = 1, length do
    self:put(i > 1 and "," or "", " ")
    self:value(t[i], level + 1)
  end
  for i, key in ipairs(keys) do
    self:put((i > 1 or length > 0) and "," or "")
    self:new_line(level + 1)
    self:key(key)
    self:put " = "
    self:value(t[key], level + 1)
  end
  if mt then
    self:put((length > 0 or #keys > 0) and "," or "")
    self:new_line(level + 1)
    self:put "<metatable> = "
    self:value(mt, level + 1)
  end
  if #keys > 0 or mt then
    self:new_line(level)
  elseif length > 0 then
    self:put " "
  end
  self:put "}"
end

function Writer:value(value, level)
  local kind = type(value)
  if kind == "string" then
    self:put(quoted(value))
  elseif kind == "table" then
    self:table(value, level)
  elseif kind == "number" or kind == "boolean" or kind == "nil" or kind == "cdata"
         or kind == "ctype" then
    self:put(tostring(value))
  else
    self:put("<", kind, " ", self:id_of(value), ">")
  end
end

local function processed(process, value, path, seen)
  if value == nil then return nil end
  if seen[value] then return seen[value] end
  local result = process(value, path)
  if type(result) ~= "table" then return result end
  local copy = {}
  seen[value] = copy
  local function below(part)
    local longer = { unpack(path) }
    longer[#longer + 1] = part
    return longer
  end
  for key, member in pairs(result) do
    local new_key = processed(process, key, below(key), seen)
    if new_key ~= nil then
      copy[new_key] = processed(process, member, below(new_key), seen)
    end
  end
  local mt = processed(process, getmetatable(result), below(inspect.METATABLE), seen)
  return setmetatable(copy, type(mt) == "table" and mt or nil)
end

-- A value as text. Options: depth, newline, indent, process.
function inspect.inspect(value, options)
  options = options or {}
  if options.process then value = processed(options.process, value, {}, {}) end
  local writer = setmetatable({
    depth = options.depth or huge, newline = options.newline or "\n",
    indent = options.indent or "  ", out = {}, ids = {}, last = {}, counts = {}, written = {},
  }, Writer)
  count_appearances(value, writer.counts)
  writer:value(value, 0)
  for i, part in ipairs(writer.out) do writer.out[i] = tostring(part) end
  return concat(writer.out)
end

return setmetatable(inspect, { __call = function(_, ...) return inspect.inspect(...) end })
