-- Classes with single inheritance, in the manner of rxi's classic.
local Object = {}
Object.__index = Object

function Object.new() end

-- A class that inherits from this one, metamethods included.
function Object:extend()
  local class = {}
  for key, value in pairs(self) do
    if key:find("^__") then class[key] = value end
  end
  class.__index = class
  class.super = self
  return setmetatable(class, self)
end

-- Takes the functions of other classes that this one has not.
function Object:implement(...)
  for _, class in ipairs { ... } do
    for key, value in pairs(class) do
      if self[key] == nil and type(value) == "function" then self[key] = value end
    end
  end
end

-- Whether the object is of this class or of one that inherits from it.
function Object:is(class)
  local mt = getmetatable(self)
  while mt do
    if mt == class then return true end
    mt = getmetatable(mt)
  end
  return false
end

function Object.__tostring() return "Object" end

function Object:__call(...)
  local object = setmetatable({}, self)
  object:new(...)
  return object
end

return Object
