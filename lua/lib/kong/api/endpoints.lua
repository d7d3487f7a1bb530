-- What the Admin API does with entities, for plugins that change or add to it in their `api.lua`
-- (kong/api/endpoints.lua). An endpoint is a function of `self`, the database and helpers.

local Errors = require "kong.db.errors"
local tools = require "kong.tools.uuid"

local format, pairs, tonumber, type = string.format, pairs, tonumber, type
local escape_uri, unescape_uri, null = ngx.escape_uri, ngx.unescape_uri, ngx.null
local codes = Errors.codes

local PAGE = { page_size = 100, max_page_size = 1000 }

-- The statuses of faults; all others are the gateway's own trouble.
local STATUS = {}
for _, name in ipairs { "INVALID_PRIMARY_KEY", "SCHEMA_VIOLATION", "PRIMARY_KEY_VIOLATION",
                        "FOREIGN_KEY_VIOLATION", "INVALID_OFFSET", "INVALID_SIZE",
                        "INVALID_UNIQUE", "INVALID_OPTIONS", "FOREIGN_KEYS_UNRESOLVED",
                        "REFERENCED_BY_OTHERS" } do
  STATUS[codes[name]] = 400
end
STATUS[codes.NOT_FOUND], STATUS[codes.OPERATION_UNSUPPORTED] = 404, 405
STATUS[codes.UNIQUE_VIOLATION] = 409

local Endpoints = {}

local function exit(status, body) return kong.response.exit(status, body) end
local function not_found() return exit(404, { message = "Not found" }) end

-- Answers what is wrong. What is not the client's fault is logged, and not shown.
function Endpoints.handle_error(fault)
  local status = type(fault) == "table" and STATUS[fault.code]
  if not status then
    kong.log.err(type(fault) == "table" and (fault.message or fault.name) or fault)
    return exit(500, { message = "An unexpected error occurred" })
  end
  fault.strategy = nil
  return exit(status, fault)
end
local handle_error = Endpoints.handle_error

-- How many entities a page is asked to have; nil and what is wrong if that is no number.
function Endpoints.get_page_size(args)
  if args.size == nil then return nil end
  local size = tonumber(args.size)
  if size == nil then return nil, "size must be a number" end
  return size
end

local WRITES = { insert = true, update = true, upsert = true }

-- The options of a DAO's method, out of the arguments of a request.
function Endpoints.extract_options(db, args, schema, context)
  local options = { nulls = true, pagination = PAGE, workspace = kong.default_workspace }
  if not (args and schema and context) then return options end
  if schema.ttl == true and args.ttl ~= nil and WRITES[context] then
    options.ttl, args.ttl = tonumber(args.ttl) or args.ttl, nil
  end
  local tags = args.tags
  if schema.fields.tags and tags ~= nil and context == "page" then
    if type(tags) == "table" then tags = tags[1] end
    if tags == null or tags == nil or tags == "" then
      local problem = "cannot be null"
      return nil, problem, db[schema.name].errors:invalid_options { tags = problem }
    end
    local text = tostring(tags)
    local mark = text:find("/", 1, true) and "/" or ","
    if not (mark == "/" and text:find(",", 1, true)) then
      options.tags, options.tags_cond = {}, mark == "/" and "or" or "and"
      for tag in text:gmatch("[^" .. mark .. "]+") do
        options.tags[#options.tags + 1] = tag
      end
    else
      options.tags = text
    end
    args.tags = nil
  end
  return options
end

-- The entity that a path means: an id, or a value of the kind's endpoint key.
local function key_of(self, schema)
  local key = self.params[schema.name]
  if type(key) == "table" then return key end
  key = key ~= nil and unescape_uri(key) or nil
  local field = schema.endpoint_key and schema.fields[schema.endpoint_key]
  if not field or tools.is_valid_uuid(key) then return { id = key } end
  if field.type == "number" or field.type == "integer" then key = tonumber(key) or key end
  return key, schema.endpoint_key
end

-- A function that asks a DAO what a request asks; `method` is one of the DAO's in place of the
-- usual.
local function query(context)
  return function(self, db, schema, method)
    local writes = WRITES[context]
    local args = writes and self.args.post or self.args.uri
    local options, problem, fault = Endpoints.extract_options(db, args, schema, context)
    if not options then return nil, problem, fault end
    local dao = db[schema.name]
    if context == "insert" then return dao[method or context](dao, args, options) end
    if context == "page" then
      local size
      size, problem = Endpoints.get_page_size(args)
      if problem then return nil, problem, dao.errors:invalid_size(problem) end
      if not method then return dao:page(size, args.offset, options) end
      return dao[method](dao, self.params[schema.name], size, args.offset, options)
    end
    local key, field = key_of(self, schema)
    local name = method or field and context .. "_by_" .. field or context
    if writes then return dao[name](dao, key, args, options) end
    return dao[name](dao, key, options)
  end
end

for name, context in pairs { select_entity = "select", update_entity = "update",
                             upsert_entity = "upsert", delete_entity = "delete",
                             insert_entity = "insert", page_collection = "page" } do
  Endpoints[name] = query(context)
end

-- What a query has given; the request is answered if it is a fault, or nothing where something
-- has to be there.
local function got(entity, _, fault, offset)
  if fault then return handle_error(fault) end
  return entity, offset
end

local function existing(entity, ...)
  entity = got(entity, ...)
  if not entity then return not_found() end
  return entity
end

local function collection(schema) return schema.admin_api_name or schema.name end
local function nested(schema) return schema.admin_api_nested_name or collection(schema) end

-- Whether an entity's field refers to another entity.
local function refers(entity, field, parent, schema)
  local key = entity[field]
  if not key or key == null then return false end
  for name, value in pairs(schema:extract_pk_values(parent)) do
    if key[name] ~= value then return false end
  end
  return true
end

-- A page of a kind, or of those that refer to an entity of `foreign`.
function Endpoints.get_collection_endpoint(schema, foreign, field, method)
  return function(self, db)
    local path, more = "/" .. collection(schema), ""
    local args, asked = self.args.uri, method
    if foreign then
      local parent = existing(Endpoints.select_entity(self, db, foreign))
      path = format("/%s/%s/%s", collection(foreign), escape_uri(self.params[foreign.name]),
                    nested(schema))
      self.params[schema.name] = foreign:extract_pk_values(parent)
      asked = method or "page_for_" .. field
    else
      local tags = type(args.tags) == "table" and args.tags[1] or args.tags
      if tags then more = "&tags=" .. escape_uri(tags) end
      if args.size then more = more .. "&size=" .. args.size end
    end
    local rows, offset = got(Endpoints.page_collection(self, db, schema, asked))
    local following = offset and format("%s?offset=%s%s", path, escape_uri(offset), more) or null
    return exit(200, { data = rows, offset = offset, next = following })
  end
end

-- Makes an entity, which refers to one of `foreign` where there is one.
function Endpoints.post_collection_endpoint(schema, foreign, field, method)
  return function(self, db, _, after)
    if foreign then
      local parent = existing(Endpoints.select_entity(self, db, foreign))
      self.args.post[field] = foreign:extract_pk_values(parent)
    end
    local entity = got(Endpoints.insert_entity(self, db, schema, method))
    if after then entity = got(after(entity)) end
    return exit(201, entity)
  end
end

-- Endpoints of one entity: `/schema/:schema`; `/schema/:schema/field`, the entity that a field
-- names (`is_foreign`); `/schema/:schema/foreign/:foreign`, one of those that refer to it.
-- `work(self, db, target, method)` does what there is to do with the entity of kind `target`.
local function entity_endpoint(schema, foreign, field, method, is_foreign, work)
  if not foreign then
    return function(self, db) return work(self, db, schema, method, {}) end
  end
  return function(self, db)
    local entity = existing(Endpoints.select_entity(self, db, schema))
    local relation = { entity = entity, field = field, is_foreign = is_foreign, schema = schema }
    if is_foreign then
      local key = entity[field]
      relation.is_empty = not key or key == null
      if not relation.is_empty then self.params[foreign.name] = key end
    end
    return work(self, db, foreign, method, relation)
  end
end

-- 404 where an entity is not below the one in front of it.
local function check_below(self, db, target, relation)
  if not relation.entity then return end
  if relation.is_foreign then
    if relation.is_empty then return not_found() end
    return
  end
  local entity = existing(Endpoints.select_entity(self, db, target))
  if not refers(entity, relation.field, relation.entity, relation.schema) then
    return not_found()
  end
end

function Endpoints.get_entity_endpoint(schema, foreign, field, method, is_foreign)
  return entity_endpoint(schema, foreign, field, method, is_foreign,
    function(self, db, target, name, relation)
      check_below(self, db, target, relation)
      return exit(200, existing(Endpoints.select_entity(self, db, target, name)))
    end)
end

function Endpoints.put_entity_endpoint(schema, foreign, field, method, is_foreign)
  return entity_endpoint(schema, foreign, field, method, is_foreign,
    function(self, db, target, name, relation)
      if relation.is_empty then
        self.params[target.name] = tools.uuid()
      elseif relation.entity and not relation.is_foreign then
        local parent = relation.schema:extract_pk_values(relation.entity)
        self.args.post[relation.field] = parent
      end
      local entity = existing(Endpoints.upsert_entity(self, db, target, name))
      if relation.is_empty then
        -- What is made here is what the entity in front refers to from now on.
        local key = relation.schema:extract_pk_values(relation.entity)
        local changes = { [relation.field] = target:extract_pk_values(entity) }
        got(db[relation.schema.name]:update(key, changes))
      end
      return exit(200, entity)
    end)
end

function Endpoints.patch_entity_endpoint(schema, foreign, field, method, is_foreign)
  return entity_endpoint(schema, foreign, field, method, is_foreign,
    function(self, db, target, name, relation)
      check_below(self, db, target, relation)
      if relation.entity and not relation.is_foreign and not self.args.post[relation.field] then
        local parent = relation.schema:extract_pk_values(relation.entity)
        self.args.post[relation.field] = parent
      end
      return exit(200, existing(Endpoints.update_entity(self, db, target, name)))
    end)
end

function Endpoints.delete_entity_endpoint(schema, foreign, field, method, is_foreign)
  return entity_endpoint(schema, foreign, field, method, is_foreign,
    function(self, db, target, name, relation)
      check_below(self, db, target, relation)
      if relation.is_foreign then return exit(405, { message = "Method not allowed" }) end
      got(Endpoints.delete_entity(self, db, target, name))
      return exit(204)
    end)
end

-- What answers 404 to everything.
Endpoints.disable = { before = not_found }

local function entity_methods(...)
  return {
    GET = Endpoints.get_entity_endpoint(...),
    PUT = Endpoints.put_entity_endpoint(...),
    PATCH = Endpoints.patch_entity_endpoint(...),
    DELETE = Endpoints.delete_entity_endpoint(...),
  }
end

local function collection_methods(...)
  return { GET = Endpoints.get_collection_endpoint(...),
           POST = Endpoints.post_collection_endpoint(...) }
end

-- The endpoints that a kind has, by path: put into `endpoints`.
function Endpoints.new(schema, endpoints)
  local own = "/" .. collection(schema)
  local one = own .. "/:" .. schema.name
  endpoints[own] = { schema = schema, methods = collection_methods(schema) }
  endpoints[one] = { schema = schema, methods = entity_methods(schema) }
  for name, field in schema:each_field() do
    local other = field.type == "foreign" and field.schema
    if other then
      local below = format("/%s/:%s/%s", collection(other), other.name, nested(schema))
      endpoints[one .. "/" .. name] = {
        schema = other, methods = entity_methods(schema, other, name, nil, true),
      }
      endpoints[below] = { schema = schema, methods = collection_methods(schema, other, name) }
      endpoints[below .. "/:" .. schema.name] = {
        schema = schema, methods = entity_methods(other, schema, name),
      }
    end
  end
  return endpoints
end

return Endpoints
