-- What is asked of the arguments of a DAO's methods, and what they are refused with
-- (kong/db/dao/init.lua).
local constants = require "kong.constants"
local uuid = require "kong.tools.uuid"

local floor, format, type = math.floor, string.format, type
local null = ngx.null

local checks = {}

local TTL_MAX = constants.DATABASE.DAO_MAX_TTL
local TAGS_MAX = 5
local PAGE = { page_size = 1000, max_page_size = 50000 }

-- Raises if a value is not of a type; nil is fine where it may be absent. The error is said of
-- whoever called the DAO's method; `deeper` is how far below it this is.
function checks.type(value, kind, what, optional, deeper)
  if type(value) ~= kind and not (optional and value == nil) then
    error(what .. " must be a " .. kind .. (optional and what == "options"
          and " when specified" or ""), 3 + (deeper or 0))
  end
end

local TYPES = { string = "string", number = "number", integer = "number", boolean = "boolean",
                foreign = "table", array = "table", set = "table", map = "table",
                record = "table" }

-- Raises if a value can't be one of a field's.
function checks.unique_type(value, name, field)
  local kind = TYPES[field.type]
  if kind and type(value) ~= kind then error(name .. " must be a " .. kind, 4) end
end

local function is_whole(value, from, to)
  return type(value) == "number" and floor(value) == value and value >= from and value <= to
end

local function page_problem(pagination)
  if type(pagination) ~= "table" then return "must be a table" end
  local problems = {}
  local most = pagination.max_page_size
  if most ~= nil and type(most) ~= "number" then
    problems.max_page_size, most = "must be a number", nil
  elseif most ~= nil and not is_whole(most, 1, math.huge) then
    problems.max_page_size, most = "must be an integer greater than 0", nil
  end
  most = most or PAGE.max_page_size
  local size = pagination.page_size
  if size ~= nil and type(size) ~= "number" then
    problems.page_size = "must be a number"
  elseif size ~= nil and not is_whole(size, 1, most) then
    problems.page_size = format("must be an integer between 1 and %d", most)
  end
  return next(problems) and problems
end

local function tag_problems(schema, options, problems)
  local tags = options.tags
  if not schema.fields.tags then
    problems.tags = format("cannot be used with '%s'", schema.name)
  elseif type(tags) ~= "table" then
    problems.tags = options.tags_cond and "must be a table" or "invalid filter syntax"
  elseif #tags > TAGS_MAX then
    problems.tags = "cannot query more than " .. TAGS_MAX .. " tags"
  elseif not table.concat(tags):find "^[ \33-\43\45\46\48-\126\128-\244]+$" then
    problems.tags = "must only contain printable ascii (except `,` and `/`) or valid utf-8"
  elseif #tags > 1 and options.tags_cond ~= "and" and options.tags_cond ~= "or" then
    problems.tags_cond = "must be a either 'and' or 'or' when more than one tag is specified"
  end
end

-- What is wrong with the values of options, by option; nil if nothing is.
function checks.options(schema, options)
  local problems = {}
  local workspace = options.workspace
  if workspace ~= nil and workspace ~= null then
    if type(workspace) ~= "string" then
      problems.workspace = "must be a string or null"
    elseif not uuid.is_valid_uuid(workspace) and workspace ~= "default" then
      problems.workspace = "invalid workspace"
    end
  end
  for _, name in ipairs { "show_ws_id", "transform", "export", "skip_ttl" } do
    if options[name] ~= nil and type(options[name]) ~= "boolean" then
      problems[name] = "must be a boolean"
    end
  end
  if options.ttl ~= nil and schema.ttl ~= true then
    problems.ttl = format("cannot be used with '%s'", schema.name)
  elseif options.ttl ~= nil and not is_whole(options.ttl, 0, TTL_MAX) then
    problems.ttl = "must be an integer between 0 and " .. TTL_MAX
  end
  if options.tags ~= nil then tag_problems(schema, options, problems) end
  if options.pagination ~= nil then problems.pagination = page_problem(options.pagination) end
  return next(problems) and problems
end

-- The size of a page; or nil and what is wrong with it.
function checks.size(size, options)
  local pagination = options and type(options.pagination) == "table" and options.pagination or PAGE
  if size == nil then return pagination.page_size or PAGE.page_size end
  local most = pagination.max_page_size or PAGE.max_page_size
  if is_whole(size, 1, most) then return size end
  return nil, "size must be an integer between 1 and " .. most
end

return checks
