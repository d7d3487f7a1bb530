-- What plugins use of Kong's Admin API beside its endpoints (kong/api/api_helpers.lua).
local cjson = require "cjson"

local next, pairs, type = next, pairs, type

local helpers = {}

local jsonable

local function fields_of(list)
  local out = setmetatable({}, cjson.array_mt)
  for i, entry in ipairs(list or {}) do
    local name, field = next(entry)
    out[i] = { [name] = jsonable(field) }
  end
  return out
end

-- A value without what JSON does not have.
function jsonable(value)
  if value ~= value then return "nan" end
  if value == math.huge then return "inf" end
  if value == -math.huge then return "-inf" end
  if type(value) ~= "table" then return value end
  local out = {}
  for key, item in pairs(value) do
    if key == "schema" and type(item) == "table" then
      out[key] = helpers.schema_to_jsonable(item)
    elseif key == "fields" and value.type == "record" then
      out[key] = fields_of(item)
    elseif type(item) ~= "function" then
      out[key] = jsonable(item)
    end
  end
  if #out > 0 or next(out) == nil and (value.type == nil) then
    setmetatable(out, cjson.array_mt)
  end
  return out
end

-- A schema as `/schemas/…` shows it: without functions.
function helpers.schema_to_jsonable(schema)
  return { entity_checks = fields_of(schema.entity_checks), fields = fields_of(schema.fields) }
end

-- The first schema that a table of routes names: they are written for endpoints of entities then.
function helpers.is_new_db_routes(routes)
  for _, verbs in pairs(routes) do
    -- The first that has one: in what order they come is by chance.
    if type(verbs) == "table" and verbs.schema then return verbs.schema end
  end
end

return helpers
