-- The part of Kong's schema library that schemas themselves lean on (kong/db/schema): definitions
-- that can be called to add to them, and checks. Validation is the gateway's own.

local tables = require "kong.tools.table"

local Schema = {}

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

-- The fields of a schema, by name.
function Schema.each_field(schema)
  local i = 0
  return function()
    i = i + 1
    local field = schema.fields[i]
    if field then return next(field) end
  end
end

return Schema
