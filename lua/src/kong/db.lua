-- kong.db: entities, as plugins read them (kong/db/dao).
local kong, native = ...
local find, children, workspace = native.find, native.children, native.workspace
local type, error, setmetatable, pairs = type, error, setmetatable, pairs

-- Kinds of entities, with the fields by which they are cached where those are not the primary key.
local KINDS = {
  acls = { "consumer", "group" },
  basicauth_credentials = { "username" },
  ca_certificates = false, certificates = false, consumers = false, filter_chains = false,
  hmacauth_credentials = { "username" },
  jwt_secrets = { "key" },
  key_sets = { "name" },
  keyauth_credentials = { "key" },
  keys = false,
  oauth2_authorization_codes = { "code" },
  oauth2_credentials = { "client_id" },
  oauth2_tokens = { "access_token" },
  parameters = false,
  plugins = { "name", "route", "service", "consumer" },
  routes = false, services = false,
  sessions = { "session_id" },
  snis = { "name" },
  targets = false, upstreams = false,
  vaults = { "prefix" },
  workspaces = false,
}

local function strategy()
  return kong.configuration and kong.configuration.database or "off"
end

local DAO = {}
DAO.__index = function(self, name)
  local own = DAO[name]
  if own ~= nil then
    return own
  end
  local field = type(name) == "string" and name:match("^select_by_(.+)$")
  if field then
    return function(dao, value)
      if type(value) ~= "string" then
        error(field .. " must be a string", 2)
      end
      return find(dao.schema.name, field, value)
    end
  end
  local parent = type(name) == "string" and name:match("_for_(.+)$")
  if parent and name:match("^each_for_") then
    return function(dao, key)
      return DAO.rows(children(dao.schema.name, parent, key.id))
    end
  elseif parent and name:match("^page_for_") then
    return function(dao, key, size, offset)
      return DAO.slice(children(dao.schema.name, parent, key.id), size, offset)
    end
  end
end

-- An iterator over rows: the row, no error, the page.
function DAO.rows(rows)
  local i = 0
  return function()
    i = i + 1
    local row = rows[i]
    if row then
      return row, nil, 1
    end
  end
end

-- A page of rows, and where the next begins.
function DAO.slice(rows, size, offset)
  size = size or 100
  local from = offset and tonumber(offset) or 0
  local page = {}
  for i = from + 1, math.min(from + size, #rows) do
    page[#page + 1] = rows[i]
  end
  local next_offset = from + size < #rows and tostring(from + size) or nil
  return page, nil, nil, next_offset
end

-- The entity of a primary key.
function DAO:select(key)
  if type(key) ~= "table" then
    error("primary_key must be a table", 2)
  end
  if type(key.id) ~= "string" then
    return nil, "[" .. strategy() .. "] invalid primary key"
  end
  return find(self.schema.name, "id", key.id)
end

function DAO:select_by_cache_key(cache_key)
  for row in self:each() do
    if self:cache_key(row) == cache_key then
      return row
    end
  end
end

function DAO:each(_)
  return DAO.rows(children(self.schema.name))
end

function DAO:page(size, offset)
  return DAO.slice(children(self.schema.name), size, offset)
end

local VERBS = { insert = "create", update = "update", upsert = "create or update",
                delete = "remove" }
for method, verb in pairs(VERBS) do
  local function refuse(self)
    local message = ("[%s] cannot %s '%s' entities when not using a database")
                    :format(strategy(), verb, self.schema.name)
    return nil, message, { code = 12, name = "operation unsupported", message = message,
                           strategy = strategy() }
  end
  DAO[method] = refuse
  DAO[method .. "_by_name"] = refuse
end

-- The key under which an entity is cached: of its fields, or of values given one by one.
function DAO:cache_key(key, a, b, c, d, ws_id)
  local values = { key, a, b, c, d }
  if type(key) == "table" then
    values = {}
    local fields = self.schema.cache_key or { "id" }
    for i, field in ipairs(fields) do
      local value = key[field]
      values[i] = type(value) == "table" and value.id or value
    end
    ws_id = ws_id or key.ws_id
  end
  local parts = { self.schema.name }
  for i = 1, 5 do
    local value = values[i]
    parts[i + 1] = value == nil and "" or tostring(value)
  end
  parts[7] = ws_id or workspace() or ""
  return table.concat(parts, ":")
end

local daos = {}
for name, cache_key in pairs(KINDS) do
  daos[name] = setmetatable({
    schema = { name = name, cache_key = cache_key or nil, primary_key = { "id" } },
  }, DAO)
end

kong.db = setmetatable({ daos = daos }, {
  __index = function(_, name)
    if name == "strategy" then
      return strategy()
    end
    return daos[name]
  end,
})
