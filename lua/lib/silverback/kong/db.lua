-- `kong.db` (kong/db/dao): entities of the configuration, as plugins read them.

local native = require "silverback.native"

local setmetatable, type, tostring, error, sub = setmetatable, type, tostring, error, string.sub
local find_entity, children = native.find_entity, native.children

-- The fields whose values make an entity's cache key, where it is not its id.
local CACHE_KEYS = {
  keyauth_credentials = { "key" }, basicauth_credentials = { "username" },
  hmacauth_credentials = { "username" }, jwt_secrets = { "key" }, snis = { "name" },
  oauth2_credentials = { "client_id" }, oauth2_tokens = { "access_token" },
  oauth2_authorization_codes = { "code" }, acls = { "consumer", "group" },
  sessions = { "session_id" },
}

local dao = {}

local function id_of(value)
  if type(value) == "table" then return value.id end
  return value
end

local function not_there(self, what)
  return nil, ("[%s] %s is only done by the Admin API and by declarative files: plugins read"):
    format(kong.configuration and kong.configuration.database or "off", what .. " " .. self.name)
end

-- The entity of an id, given as a table or as text. Nil if there is none; nil and what is wrong.
function dao.select(self, key)
  local id = id_of(key)
  if type(id) ~= "string" then error("primary_key must be a table", 2) end
  return find_entity(self.name, "id", id)
end

-- The key under which an entity is kept in a cache: of its fields, or of their values.
function dao.cache_key(self, key, second, third)
  if type(key) == "table" then
    local values = {}
    for i, field in ipairs(CACHE_KEYS[self.name] or { "id" }) do
      values[i] = tostring(id_of(key[field]) or "")
    end
    if #values == 1 and values[1] == "" then values[1] = tostring(key.id) end
    key, second, third = values[1], values[2], values[3]
  end
  return table.concat({ self.name, tostring(key or ""), tostring(id_of(second) or ""),
                        tostring(third or ""), "", kong.default_workspace or "" }, ":")
end

-- The entity that a cache key stands for.
function dao.select_by_cache_key(self, key)
  local value = key:match("^" .. self.name .. ":([^:]*):")
  local field = (CACHE_KEYS[self.name] or { "id" })[1]
  if not value or field == "consumer" then return nil, "no cache key of this kind" end
  return find_entity(self.name, field, value)
end

-- Goes through a list: each entity, no error, the page's number.
local function walk(list)
  local i = 0
  return function()
    i = i + 1
    if list[i] then return list[i], nil, 1 end
  end
end

for _, name in ipairs { "insert", "update", "upsert", "delete" } do
  dao[name] = function(self) return not_there(self, name .. " of") end
end

-- Methods whose names say a field or a parent.
local function method(name)
  local field = name:match "^select_by_(.+)$"
  if field then
    return function(self, value)
      if type(value) == "table" then value = id_of(value) end
      return find_entity(self.name, field, tostring(value))
    end
  end
  local parent = name:match "^each_for_(.+)$"
  if parent then
    return function(self, key)
      return walk(children(self.name, parent, id_of(key)))
    end
  end
  parent = name:match "^page_for_(.+)$"
  if parent then
    return function(self, key)
      return children(self.name, parent, id_of(key)), nil, nil, nil
    end
  end
  local written = name:match "^(%a+)_by_.+$"
  if written == "update" or written == "upsert" or written == "delete" then return dao[written] end
end

local DAO = {
  __index = function(self, name)
    local found = dao[name] or method(name)
    if found then rawset(self, name, found) end
    return found
  end,
}

-- A DAO for every name that is asked for.
return setmetatable({ strategy = "off", daos = {} }, {
  __index = function(db, name)
    if type(name) ~= "string" or sub(name, 1, 1) == "_" then return nil end
    local made = setmetatable({ name = name, schema = { name = name } }, DAO)
    db.daos[name] = made
    rawset(db, name, made)
    return made
  end,
})
