-- A plugin's schema in the form of Kong 0.14 (https://docs.konghq.com/0.14.x/plugin-development/
-- plugin-configuration) in today's form.
local old = ...

local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"
local fields_of

-- `{ "a", "b" }` and `{ a = ..., b = ... }` in a fixed order.
local function sorted(map)
  local names = {}
  for name in pairs(map) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function kind(field, words)
  local name = field.type or "string"
  if name == "url" then
    field.type = "string"
    words.type = "string"
  elseif name == "timestamp" then
    words.type, words.timestamp = "integer", true
  elseif name == "id" then
    words.type, words.match = "string", UUID
  elseif name == "array" then
    words.type = "array"
    words.elements = { type = "string", one_of = field.enum, match = field.regex and nil }
  elseif name == "table" then
    local inner = field.schema
    if type(inner) == "function" then
      inner = inner({})
    end
    if inner and inner.flexible then
      words.type, words.keys = "map", { type = "string" }
      words.values = { type = "record", fields = fields_of(inner.fields) }
    elseif inner and inner.fields then
      words.type, words.fields = "record", fields_of(inner.fields)
    else
      words.type, words.keys = "map", { type = "string" }
      words.values = { type = "any" }
    end
  else
    words.type = name
  end
end

local function regex(pattern)
  return function(value)
    local found, err = ngx.re.find(value, pattern)
    if found then
      return true
    end
    return nil, err or (value .. " does not match " .. pattern)
  end
end

local function convert(field)
  local words = {}
  kind(field, words)
  words.required = field.required
  words.unique = field.unique
  local default = field.default
  if type(default) == "function" then
    default = default({})
  end
  words.default = default
  -- Defaults of 0.14 were there for a null as well, so that code relies on them.
  if field.enum and words.type ~= "array" then
    words.one_of = field.enum
  end
  local validators = {}
  if field.regex and words.type == "string" then
    validators[1] = regex(field.regex)
  end
  if type(field.func) == "function" then
    validators[#validators + 1] = function(value)
      local ok, err = field.func(value, {}, {})
      if ok == false or (not ok and err) then
        return nil, err or "invalid value"
      end
      return true
    end
  end
  if #validators > 0 then
    words.custom_validator = function(value)
      for _, validate in ipairs(validators) do
        local ok, err = validate(value)
        if not ok then
          return nil, err
        end
      end
      return true
    end
  end
  return words
end

function fields_of(map)
  local fields = {}
  for _, name in ipairs(sorted(map or {})) do
    fields[#fields + 1] = { [name] = convert(map[name]) }
  end
  return fields
end

local config = { type = "record", required = true, fields = fields_of(old.fields) }
if type(old.self_check) == "function" then
  config.custom_validator = function(conf)
    local ok, err = old.self_check(old, conf, {}, false)
    if ok == false or (not ok and err) then
      return nil, type(err) == "table" and tostring(err.message or err) or err
    end
    return true
  end
end

local fields = {}
local function without(name, reference)
  fields[#fields + 1] = { [name] = { type = "foreign", reference = reference, eq = ngx.null } }
end
if old.no_consumer then without("consumer", "consumers") end
if old.no_route then without("route", "routes") end
if old.no_service then without("service", "services") end
fields[#fields + 1] = { config = config }
return { name = old.name, fields = fields }
