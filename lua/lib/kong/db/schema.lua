-- Kong's schema library as far as plugins use it (kong/db/schema): definitions that can be called
-- to add to them, and schemas of kinds. Validation is the gateway's own.

local tables = require "kong.tools.table"

local error, ipairs, next, pairs, type = error, ipairs, next, pairs, type

local Schema = {}
Schema.__index = Schema

local DEFINITION = {
  __call = function(definition, more)
    local fields = tables.cycle_aware_deep_copy(definition, true)
    for key, value in pairs(more or {}) do fields[key] = value end
    return Schema.define(fields)
  end,
}

-- A definition: called with more fields, it is a new one with them.
function Schema.define(fields) return setmetatable(fields, DEFINITION) end

Schema.validators = {
  -- Whether a text is a regular expression.
  is_regex = function(value)
    local _, problem = ngx.re.match("", value, "jo")
    if problem then return nil, "not a valid regex: " .. value end
    return true
  end,
}

-- The fields of a schema: name and field.
function Schema:each_field()
  local i = 0
  return function()
    i = i + 1
    local entry = self.fields[i]
    if entry then return next(entry) end
  end
end

-- The fields that name an entity, out of it.
function Schema:extract_pk_values(entity)
  local key = {}
  for _, name in ipairs(self.primary_key) do key[name] = entity[name] end
  return key
end

-- What knows the schemas of kinds; required late, since schemas are read before there is a store.
local function native() return require "silverback.database" end

-- What the gateway knows the schema as.
local function known(self) return self.number or self.name end

-- Whether a whole entity is right; or nil, what is wrong by field, and in words.
function Schema:validate(entity) return native().validate(known(self), entity) end
Schema.validate_insert = Schema.validate
Schema.validate_upsert = Schema.validate

function Schema:validate_primary_key(key, ignore_others)
  if not ignore_others then
    for name in pairs(key) do
      local own = false
      for _, other in ipairs(self.primary_key) do own = own or other == name end
      if not own then return nil, { [name] = "not part of the primary key" } end
    end
  end
  return native().validate_key(known(self), key)
end

-- Whether a field can have a value; `field` is one of the schema's.
function Schema:validate_field(field, value)
  for name, other in self:each_field() do
    if other == field then return native().validate_field(known(self), name, value) end
  end
  error("the field is none of the schema's", 2)
end

-- Fills in what the gateway fills in: ids, times, defaults.
function Schema:process_auto_fields(entity, context, nulls)
  local filled, problems, words = native().process(known(self), entity, context, nulls == true)
  return filled, problems, words
end

-- Errors by field in words.
function Schema:errors_to_string(problems)
  local fault = require("kong.db.errors").new():schema_violation(problems)
  return (fault.message:match "^[^(]*%((.*)%)$") or fault.message
end

local kinds = {}

-- What a plugin's daos.lua says of a kind.
local function definition(plugin, name)
  local all = require("kong.plugins." .. plugin .. ".daos")
  if all[name] then return all[name] end
  for _, candidate in ipairs(all) do
    if candidate.name == name then return candidate end
  end
end

-- Puts the fields of a definition into a schema, in their order and by name.
local function add_fields(schema, list)
  for i, entry in ipairs(list) do
    local name, field = next(entry)
    if type(field) == "table" and field.type == "foreign" then
      local copy = {}
      for key, value in pairs(field) do copy[key] = value end
      copy.schema = Schema.of(field.reference)
      field = copy
    end
    schema.fields[i] = { [name] = field }
    schema.fields[name] = field
  end
  return schema
end

-- A schema with what a definition says of the whole.
local function begin(words)
  local schema = { fields = {} }
  for key, value in pairs(words) do
    if key ~= "fields" then schema[key] = value end
  end
  schema.primary_key = schema.primary_key or { "id" }
  return setmetatable(schema, Schema)
end

-- The schema of a kind of entity; nil if there is none.
function Schema.of(name)
  if kinds[name] then return kinds[name] end
  local plugin = native().owner(name)
  local words = plugin and definition(plugin, name) or native().schema(name)
  if not words then return nil end
  local schema = begin(words)
  -- Known before its fields are, so that circles end.
  schema.name, kinds[name] = name, schema
  return add_fields(schema, words.fields)
end

-- A schema of one's own, of a definition; or nil and what is wrong with it.
function Schema.new(words)
  if type(words) ~= "table" then return nil, "error in schema definition: expected a table" end
  local ok, number = pcall(native().compile, words)
  if not ok then return nil, (tostring(number):gsub("^[^ ]*:%d+: ", "")) end
  local schema = begin(words)
  schema.number = number
  return add_fields(schema, words.fields)
end

return Schema
