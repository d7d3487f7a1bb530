-- Versions: numbers with dots, compared part by part, in the manner of the rock `version`.

local setmetatable, tonumber, tostring, type = setmetatable, tonumber, tostring, type
local max = math.max

local version, range, set = {}, {}, {}

local function compare(a, b)
  for i = 1, max(#a, #b) do
    local x, y = a[i] or 0, b[i] or 0
    if x ~= y then return x < y and -1 or 1 end
  end
  return 0
end

local METATABLE = {
  __eq = function(a, b) return compare(a, b) == 0 end,
  __lt = function(a, b) return compare(a, b) < 0 end,
  __le = function(a, b) return compare(a, b) <= 0 end,
  __tostring = function(self) return table.concat(self, ".") end,
  __index = {
    -- Whether what is written for this one works with the other (semver.org).
    semver = function(self, other)
      if type(other) ~= "table" then other = assert(version.parse(other)) end
      if compare(self, other) < 0 then return false end
      local major = self[1] == other[1]
      return major and (self[1] ~= 0 or self[2] == other[2])
    end,
  },
}

-- A version of a text; with `strict` there must be nothing else in it.
function version.parse(text, strict)
  local found = tostring(text):match(strict and "^(%d[%d%.]*)$" or "(%d[%d%.]*)")
  if not found then return nil, "Not a valid version element: '" .. tostring(text) .. "'" end
  local parts = {}
  for part in found:gmatch("%d+") do parts[#parts + 1] = tonumber(part) end
  return setmetatable(parts, METATABLE)
end

local function made(value)
  if type(value) == "table" then return value end
  return assert(version.parse(value))
end

local RANGE = {
  __index = { matches = function(self, value)
    value = made(value)
    return compare(self.from, value) <= 0 and compare(value, self.to) <= 0
  end },
  __tostring = function(self) return tostring(self.from) .. " to " .. tostring(self.to) end,
}

local function new_range(_, from, to)
  from = made(from)
  to = to and made(to) or from
  if compare(from, to) > 0 then error("FROM version must be less than or equal to the TO version") end
  return setmetatable({ from = from, to = to }, RANGE)
end

local function any(list, value)
  for i = 1, #list do
    if list[i]:matches(value) then return true end
  end
  return false
end

local SET = { __index = {
  allowed = function(self, from, to)
    self.ok[#self.ok + 1] = new_range(nil, from, to)
    return self
  end,
  disallowed = function(self, from, to)
    self.nok[#self.nok + 1] = new_range(nil, from, to)
    return self
  end,
  matches = function(self, value)
    value = made(value)
    return any(self.ok, value) and not any(self.nok, value)
  end,
} }

local function new_set(_, from, to)
  local made_set = setmetatable({ ok = {}, nok = {} }, SET)
  if from then made_set:allowed(from, to) end
  return made_set
end

version.version = setmetatable({ parse = version.parse }, {
  __call = function(_, text, strict) return version.parse(text, strict) end,
})
version.range = setmetatable(range, { __call = new_range })
version.set = setmetatable(set, { __call = new_set })
version.strict = function(text) return version.parse(text, true) end

return setmetatable(version, {
  __call = function(_, text, strict) return version.parse(text, strict) end,
})
