-- kong.db: entities, as plugins read and write them (kong/db).
local kong = ...
local native = require "silverback.database"
local DAO = require "kong.db.dao"
local Errors = require "kong.db.errors"
local Schema = require "kong.db.schema"

-- The workspace of a database that is not open yet (kong/constants.lua).
local DEFAULT_WORKSPACE = "0dc6f45b-8f8d-40d2-a504-473544ee190b"

local function strategy()
  return native.strategy() or kong.configuration and kong.configuration.database or "off"
end

local db = { errors = nil, connector = {} }
local daos, complete = {}, false

-- Whether the database can be asked.
function db.connector:connect()
  local trouble = native.trouble()
  if trouble then return nil, trouble end
  return true
end

local function dao(name)
  if type(name) ~= "string" then return nil end
  local known = rawget(daos, name)
  if known then return known end
  local schema = Schema.of(name)
  if not schema then return nil end
  known = DAO.new(db, schema, db.errors)
  rawset(daos, name, known)
  return known
end

setmetatable(daos, { __index = function(_, name) return dao(name) end })

kong.db = setmetatable(db, {
  __index = function(_, name)
    if name == "strategy" then return strategy() end
    if name == "errors" then
      local errors = Errors.new(strategy())
      -- Of a database that is not open yet, it may still change.
      if native.strategy() then rawset(db, "errors", errors) end
      return errors
    end
    if name == "daos" then
      if not complete and native.strategy() then
        for _, kind in ipairs(native.names()) do dao(kind) end
        complete = true
      end
      return daos
    end
    return dao(name)
  end,
})

setmetatable(kong, {
  __index = function(_, name)
    if name ~= "default_workspace" then return nil end
    local id = native.workspace()
    if id then rawset(kong, name, id) end
    return id or DEFAULT_WORKSPACE
  end,
})
