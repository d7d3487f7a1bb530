-- Entities of a kind, as plugins read and write them (kong/db/dao/init.lua). The rules of changes
-- are the store's; here are the methods, their arguments and what they give.
--
-- A result is an entity; or nil, what is wrong in words, and the same as a table.

local native = require "silverback.database"
local checks = require "kong.db.dao.checks"
local iteration = require "kong.db.iteration"

local concat, error, pairs, tostring, type = table.concat, error, pairs, tostring, type
local null = ngx.null

-- The most values that a cache key has.
local KEY_VALUES = 5

local DAO = {}
DAO.__index = DAO

local function refused(self, fault)
  fault = self.errors:of(fault)
  return nil, tostring(fault), fault
end

-- Whether options are right; or what is wrong with them.
local function check_options(self, options)
  checks.type(options, "table", "options", true, 2)
  local problems = options and checks.options(self.schema, options)
  if problems then return false, self.errors:invalid_options(problems) end
  return true
end

local function nulls(options) return options ~= nil and options.nulls == true end

-- What an entity is shown with beside its fields.
local function shown(self, row, options)
  if row and options and options.show_ws_id and self.schema.workspaceable then
    row.ws_id = native.workspace()
  end
  return row
end

-- What the store has answered.
local function answered(self, options, row, fault)
  if fault then return refused(self, fault) end
  return shown(self, row, options)
end

local function value_of(key)
  if type(key) == "table" then key = key.id end
  if key == nil or key == null then return nil end
  return tostring(key)
end

-- The primary key as the store takes it; or nil and what is wrong.
local function primary_key(self, entity)
  checks.type(entity, "table", "primary_key", false, 1)
  local values = {}
  for i, name in ipairs(self.schema.primary_key) do
    values[i] = value_of(entity[name])
    if values[i] == nil or type(entity[name]) == "boolean" then
      local key = self.schema:extract_pk_values(entity)
      local _, problems = self.schema:validate_primary_key(key)
      return nil, self.errors:invalid_primary_key(problems or key)
    end
  end
  return concat(values, ":")
end

-- A row in its form for plugins; rows of the store have it already.
function DAO:row_to_entity(row, options)
  local entity, problems = self.schema:process_auto_fields(row, "select", nulls(options))
  if not entity then return refused(self, self.errors:schema_violation(problems)) end
  return shown(self, entity, options)
end

function DAO:rows_to_entities(rows, options)
  local entities = setmetatable({}, require("cjson").array_mt)
  for i, row in ipairs(rows) do
    local entity, problem, fault = self:row_to_entity(row, options)
    if not entity then return nil, problem, fault end
    entities[i] = entity
  end
  return entities
end

function DAO:select(key, options)
  checks.type(options, "table", "options", true)
  local id, fault = primary_key(self, key)
  if not id then return refused(self, fault) end
  local ok, wrong = check_options(self, options)
  if not ok then return refused(self, wrong) end
  return answered(self, options, native.select(self.schema.name, nil, id, nulls(options)))
end

-- A page of rows, as `page` and `page_for_*` give it.
local function page(self, size, offset, options, field, parent)
  checks.type(size, "number", "size", true, 1)
  checks.type(offset, "string", "offset", true, 1)
  local ok, wrong = check_options(self, options)
  if not ok then return refused(self, wrong) end
  local most, problem = checks.size(size, options)
  if not most then return refused(self, self.errors:invalid_size(problem)) end
  options = options or {}
  local rows, fault, next_offset = native.page(self.schema.name, most, offset, options.tags,
                                               options.tags_cond, field, parent, nulls(options))
  if not rows then return refused(self, fault) end
  for _, row in ipairs(rows) do shown(self, row, options) end
  return rows, nil, nil, next_offset
end

function DAO:page(size, offset, options) return page(self, size, offset, options) end

-- An iterator over what `page` gives.
local function each(self, size, options, field, parent)
  checks.type(size, "number", "size", true, 1)
  local ok, wrong = check_options(self, options)
  if not ok then return iteration.failed(tostring(wrong), wrong) end
  local most, problem = checks.size(size, options)
  if not most then
    wrong = self.errors:invalid_size(problem)
    return iteration.failed(tostring(wrong), wrong)
  end
  return iteration.rows(function(_, offset)
    local rows, _, fault, next_offset = page(self, most, offset, options, field, parent)
    return rows, fault, next_offset
  end, most)
end

function DAO:each(size, options) return each(self, size, options) end
DAO.each_for_export = DAO.each

-- Tells who listens, and forgets what was cached of an entity.
function DAO:post_crud_event(operation, entity, old, options)
  if options and options.no_broadcast_crud_event then return end
  local cache = kong.cache
  if cache then
    for _, row in pairs { entity, old } do
      -- The store tells other nodes.
      if type(row) == "table" then cache:invalidate_local(self:cache_key(row)) end
    end
  end
  if self.events then
    local data = { operation = operation, schema = self.schema, entity = entity, old_entity = old }
    self.events.post_local("dao:crud", operation, data)
  end
end

function DAO:insert(entity, options)
  checks.type(entity, "table", "entity")
  local ok, wrong = check_options(self, options)
  if not ok then return refused(self, wrong) end
  local ttl = options and options.ttl
  local row, fault = native.insert(self.schema.name, entity, ttl, nulls(options))
  if not row then return refused(self, fault) end
  self:post_crud_event("create", row, nil, options)
  return shown(self, row, options)
end

-- Changes or replaces, by a function of native's, an entity that `field` and `value` name; a field of nil
-- is the primary key.
local function write(self, by, field, value, entity, options)
  checks.type(entity, "table", "entity", false, 1)
  local ok, wrong = check_options(self, options)
  if not ok then return refused(self, wrong) end
  local name, ttl = self.schema.name, options and options.ttl
  local old = native.select(name, field, value, false)
  local row, fault = by(name, field, value, entity, ttl, nulls(options))
  if not row then return refused(self, fault) end
  self:post_crud_event(old and "update" or "create", row, old, options)
  return shown(self, row, options)
end

local function update(self, ...) return write(self, native.update, ...) end
local function upsert(self, ...) return write(self, native.upsert, ...) end

local function delete(self, field, value, options)
  local ok, wrong = check_options(self, options)
  if not ok then return refused(self, wrong) end
  local name = self.schema.name
  local old, fault = native.select(name, field, value, false)
  if fault then return refused(self, fault) end
  if not old then return true end
  local done
  done, fault = native.delete(name, field, value)
  if not done then return refused(self, fault) end
  self:post_crud_event("delete", old, nil, options)
  return true
end

function DAO:update(key, entity, options)
  local id, fault = primary_key(self, key)
  if not id then return refused(self, fault) end
  return update(self, nil, id, entity, options)
end

function DAO:upsert(key, entity, options)
  local id, fault = primary_key(self, key)
  if not id then return refused(self, fault) end
  return upsert(self, nil, id, entity, options)
end

function DAO:delete(key, options)
  local id, fault = primary_key(self, key)
  if not id then return refused(self, fault) end
  return delete(self, nil, id, options)
end

-- Deletes all entities of the kind.
function DAO:truncate()
  while true do
    local rows, problem, fault = self:page(1000)
    if not rows then return nil, problem, fault end
    if #rows == 0 then return true end
    for _, row in ipairs(rows) do
      local ok
      ok, problem, fault = self:delete(row)
      if not ok then return nil, problem, fault end
    end
  end
end

-- The text under which an entity is cached: of its fields, or of values in their order.
function DAO:cache_key(key, b, c, d, e, ws_id)
  local schema = self.schema
  local values = { key, b, c, d, e }
  if type(key) == "table" then
    values = {}
    ws_id = ws_id or key.ws_id
    local empty = true
    for i, name in ipairs(schema.cache_key or schema.primary_key) do
      values[i] = value_of(key[name])
      empty = empty and values[i] == nil
    end
    if empty then
      for i, name in ipairs(schema.primary_key) do values[i] = value_of(key[name]) end
    end
  elseif type(key) ~= "string" then
    error("key must be a string or an entity table", 2)
  end
  if (ws_id == nil or ws_id == null) and schema.workspaceable then
    ws_id = kong.default_workspace
  end
  local parts = { schema.name }
  for i = 1, KEY_VALUES do
    local value = values[i]
    parts[i + 1] = (value == nil or value == null) and "" or tostring(value)
  end
  parts[KEY_VALUES + 2] = (ws_id == nil or ws_id == null) and "" or ws_id
  return concat(parts, ":")
end

-- The values of a cache key of several fields, out of its text.
local function cache_values(schema, key)
  local front = schema.name .. ":"
  local back = (":"):rep(KEY_VALUES - #schema.cache_key + 1)
  if key:sub(1, #front) ~= front then return key end
  key = key:sub(#front + 1)
  -- What stands behind the values is a workspace's id, or nothing.
  local values = key:match("^(.*)" .. back .. "[%x-]*$")
  return values or key
end

function DAO:select_by_cache_key(key, options)
  local fields = self.schema.cache_key
  if not fields then error("entity does not have a cache_key defined", 2) end
  if type(key) ~= "string" then key = self:cache_key(key) end
  local ok, wrong = check_options(self, options)
  if not ok then return refused(self, wrong) end
  local values = cache_values(self.schema, key)
  local row, fault = native.select(self.schema.name, "cache_key", values, nulls(options))
  return answered(self, options, row, fault)
end

-- Whether a unique field can have a value.
local function check_unique(self, name, field, value, options)
  checks.unique_type(value, name, field)
  checks.type(options, "table", "options", true)
  if options and options.workspace == null and not field.unique_across_ws then
    return false, self.errors:invalid_unique_global(name)
  end
  local ok, problem = self.schema:validate_field(field, value)
  if ok then return true end
  if field.type == "foreign" then return false, self.errors:invalid_foreign_key(problem) end
  return false, self.errors:invalid_unique(name, tostring(problem))
end

-- The methods that a unique field brings.
local function unique_methods(methods, name, field)
  local function change(work)
    return function(self, value, entity, options)
      local ok, wrong = check_unique(self, name, field, value, options)
      if not ok then return refused(self, wrong) end
      return work(self, name, value_of(value), entity, options)
    end
  end
  methods["select_by_" .. name] = function(self, value, options)
    local ok, wrong = check_unique(self, name, field, value, options)
    if not ok then return refused(self, wrong) end
    ok, wrong = check_options(self, options)
    if not ok then return refused(self, wrong) end
    local row, fault = native.select(self.schema.name, name, value_of(value), nulls(options))
    return answered(self, options, row, fault)
  end
  methods["update_by_" .. name] = change(update)
  methods["upsert_by_" .. name] = change(upsert)
  methods["delete_by_" .. name] = function(self, value, options)
    local ok, wrong = check_unique(self, name, field, value, options)
    if not ok then return refused(self, wrong) end
    return delete(self, name, value_of(value), options)
  end
end

-- The methods that a reference to another entity brings.
local function foreign_methods(methods, name, field)
  local function check(self, key)
    checks.type(key, "table", "foreign_key")
    local ok, problems = self.schema:validate_field(field, key)
    if ok then return value_of(key) end
    return nil, self.errors:invalid_primary_key(problems)
  end
  methods["page_for_" .. name] = function(self, key, size, offset, options)
    local parent, fault = check(self, key)
    if not parent then return refused(self, fault) end
    return page(self, size, offset, options, name, parent)
  end
  methods["each_for_" .. name] = function(self, key, size, options)
    local parent, fault = check(self, key)
    if not parent then return iteration.failed(tostring(fault), fault) end
    return each(self, size, options, name, parent)
  end
end

-- The DAO of a schema. The methods of the module that the schema names stand before those here,
-- which they reach as `self.super`.
function DAO.new(db, schema, errors)
  local methods = {}
  for name, field in schema:each_field() do
    if field.type == "foreign" then foreign_methods(methods, name, field) end
    if field.unique or schema.endpoint_key == name then unique_methods(methods, name, field) end
  end
  local super = setmetatable(methods, DAO)
  local self = {
    db = db, schema = schema, errors = errors, super = super,
    pagination = { page_size = 1000, max_page_size = 50000 },
  }
  if type(schema.dao) == "string" then
    for name, method in pairs(require(schema.dao)) do self[name] = method end
  end
  return setmetatable(self, { __index = super })
end

return DAO
