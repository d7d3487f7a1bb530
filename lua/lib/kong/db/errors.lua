-- What goes wrong with entities: numbered, named, in words (kong/db/errors.lua). What the store
-- says is such a table already; the functions here make them for plugins' own DAOs.

local pretty = require "pl.pretty"

local concat, format, tostring, type = table.concat, string.format, tostring, type
local null = ngx.null

local Errors = {}

local LIST = {
  "invalid primary key", "schema violation", "primary key violation", "foreign key violation",
  "unique violation", "not found", "invalid offset", "database error", "invalid size",
  "invalid unique", "invalid options", "operation unsupported", "foreign keys unresolved",
  "declarative config", "transformation error", "invalid foreign key", "invalid workspace",
  "invalid unique global", "referenced by others", "invalid search query", "sync deltas",
}
-- Codes whose names for people are not made of their own words.
local NAMES = {
  [5] = "unique constraint violation", [10] = "invalid unique %s",
  [14] = "invalid declarative configuration", [18] = "invalid global query",
  [21] = "invalid sync deltas",
}

Errors.codes, Errors.names = {}, {}
for code, words in ipairs(LIST) do
  Errors.codes[words:upper():gsub(" ", "_")] = code
  Errors.names[code] = NAMES[code] or words
end
local codes = Errors.codes

local FAULT = {
  __tostring = function(fault)
    local message = fault.message
    if message == nil or message == null then message = fault.name end
    return fault.strategy and format("[%s] %s", fault.strategy, message) or message
  end,
  __concat = function(a, b) return tostring(a) .. tostring(b) end,
}

-- What the store says is wrong, as plugins get it.
function Errors:of(fault)
  fault.strategy = self.strategy
  return setmetatable(fault, FAULT)
end

local function make(self, code, message, fields, name)
  if message ~= nil and type(message) ~= "string" then
    error("message must be a string or nil", 3)
  end
  local fault = { code = code, name = name or Errors.names[code], message = message or null }
  if fields then
    local copy = {}
    for key, value in pairs(fields) do copy[key] = value end
    fault[code == codes.INVALID_OPTIONS and "options" or "fields"] = copy
  end
  return self:of(fault)
end

local function sorted(fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  return names
end

local function shown(value) return type(value) == "table" and pretty.write(value) or tostring(value) end

-- A line for each error, two levels deep.
local function lines(fields)
  local out = {}
  local entity = fields["@entity"]
  if type(entity) == "table" then
    for _, text in pairs(entity) do out[#out + 1] = text end
  end
  for _, name in ipairs(sorted(fields)) do
    local problem = fields[name]
    if name == "@entity" then
      problem = nil
    elseif type(problem) == "table" then
      for _, inner in ipairs(sorted(problem)) do
        out[#out + 1] = name .. "." .. tostring(inner) .. ": " .. shown(problem[inner])
      end
    elseif problem ~= nil then
      out[#out + 1] = tostring(name) .. ": " .. shown(problem)
    end
  end
  return out
end

local function counted(list, one, many)
  if #list == 1 then return format("%s (%s)", one, list[1]) end
  return format("%d %s (%s)", #list, many, concat(list, "; "))
end

local function expect_table(value, what)
  if type(value) ~= "table" then error(what .. " must be a table", 3) end
end

local function expect_text(value, what)
  if type(value) ~= "string" then error(what .. " must be a string", 3) end
end

-- Errors that show a key: what they are called with, and the sentence.
for name, text in pairs {
  invalid_primary_key = "invalid primary key: '%s'",
  invalid_foreign_key = "invalid foreign key: '%s'",
  primary_key_violation = "primary key violation on key '%s'",
  unique_violation = "UNIQUE violation detected on '%s'",
  not_found = "could not find the entity with primary key '%s'",
  not_found_by_field = "could not find the entity with '%s'",
  declarative_config = "declarative config is invalid: %s",
} do
  local code = codes[name == "not_found_by_field" and "NOT_FOUND" or name:upper()]
  Errors[name] = function(self, key)
    expect_table(key, "the key")
    local line = pretty.write(key, ""):gsub('"userdata: NULL"', "null")
    return make(self, code, format(text, line), key)
  end
end

-- Errors that are a sentence.
for _, name in ipairs { "database_error", "transformation_error", "invalid_size",
                        "operation_unsupported", "referenced_by_others" } do
  local code = codes[name:upper()]
  Errors[name] = function(self, text)
    if text ~= nil then text = tostring(text) end
    return make(self, code, text or Errors.names[code])
  end
end

-- Errors by field.
function Errors:schema_violation(fields)
  expect_table(fields, "errors")
  local text = counted(lines(fields), "schema violation", "schema violations")
  return make(self, codes.SCHEMA_VIOLATION, text, fields)
end

function Errors:invalid_options(options)
  expect_table(options, "errors")
  local text = counted(lines(options), "invalid option", "option violations")
  return make(self, codes.INVALID_OPTIONS, text, options)
end

function Errors:foreign_keys_unresolved(fields)
  expect_table(fields, "errors")
  for _, problems in pairs(fields) do
    for name, problem in pairs(type(problems) == "table" and problems or {}) do
      if type(problem) == "table" then
        problems[name] = format(
          "the foreign key cannot be resolved with '%s' for an existing '%s' entity",
          pretty.write({ [problem.name] = problem.value }, ""), problem.parent)
      end
    end
  end
  local text = counted(lines(fields), "foreign key unresolved", "foreign keys unresolved")
  return make(self, codes.FOREIGN_KEYS_UNRESOLVED, text, fields)
end

function Errors:foreign_key_violation_invalid_reference(key, field, parent)
  expect_table(key, "foreign_key")
  local text = format("the foreign key '%s' does not reference an existing '%s' entity.",
                      pretty.write(key, ""), parent)
  return make(self, codes.FOREIGN_KEY_VIOLATION, text, { [field] = key })
end

function Errors:foreign_key_violation_restricted(parent, child)
  local text = format("an existing '%s' entity references this '%s' entity", child, parent)
  return make(self, codes.FOREIGN_KEY_VIOLATION, text, { ["@referenced_by"] = child })
end

function Errors:invalid_offset(offset, problem)
  expect_text(offset, "offset")
  local text = format("'%s' is not a valid offset: %s", offset, problem)
  return make(self, codes.INVALID_OFFSET, text)
end

function Errors:invalid_unique(name, problem)
  expect_text(problem, "err")
  return make(self, codes.INVALID_UNIQUE, problem, nil, "invalid unique " .. name)
end

function Errors:invalid_unique_global(name)
  local text = format("unique key %s is invalid for global query", name)
  return make(self, codes.INVALID_UNIQUE_GLOBAL, text)
end

function Errors:invalid_workspace(id)
  return make(self, codes.INVALID_WORKSPACE, format("invalid workspace '%s'", id))
end

-- The errors of a store: `strategy` is what it is called.
function Errors.new(strategy)
  return setmetatable({ strategy = strategy }, {
    __index = function(_, name)
      return Errors[name] or codes[name]
    end,
  })
end

return Errors
