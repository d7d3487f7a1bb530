-- Classes in the manner of Penlight's pl.class.

local function is_a(self, class)
  local mine = rawget(self, "_class") or getmetatable(self)
  while mine do
    if mine == class then return true end
    mine = rawget(mine, "_base")
  end
  return false
end

local function class_of(class, object)
  return type(object) == "table" and getmetatable(object) ~= nil and is_a(object, class)
end

-- Runs the constructors: a class's own `_init` calls `self:super(...)` if it wants to.
local function construct(class, object, ...)
  local init = rawget(class, "_init")
  local base = rawget(class, "_base")
  if init then
    local before = rawget(object, "super")
    if base then
      rawset(object, "super", function(self, ...) return construct(base, self, ...) end)
    end
    local other = init(object, ...)
    rawset(object, "super", before)
    return other
  elseif base then
    return construct(base, object, ...)
  end
end

local function new_class(base, fields)
  local class = {}
  for key, value in pairs(base or {}) do
    if key ~= "_init" and key ~= "_base" and key ~= "_name" then class[key] = value end
  end
  for key, value in pairs(fields or {}) do class[key] = value end
  class._base, class._class, class.is_a, class.class_of = base, nil, is_a, class_of
  class.__index = class.__index ~= base and class.__index or class
  class.cast = function(_, object) return setmetatable(object, class) end
  return setmetatable(class, {
    __call = function(self, ...)
      local object = setmetatable({}, self)
      local other = construct(self, object, ...)
      if type(other) == "table" then object = setmetatable(other, self) end
      return object
    end,
    __index = base,
  })
end

-- `class(base)`, `class{fields}`, and `class.Name(...)`, which also makes a global.
return setmetatable({}, {
  __call = function(_, base, fields)
    if type(base) == "table" and not rawget(base, "is_a") then base, fields = base._base, base end
    return new_class(base, fields)
  end,
  __index = function(class, name)
    return function(...)
      local made = class(...)
      made._name = name
      rawset(getfenv(2), name, made)
      return made
    end
  end,
})
