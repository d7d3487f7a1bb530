-- kong.db: entities, as plugins read and write them (kong/db).
local kong = ...
local native = require "silverback.database"
local DAO = require "kong.db.dao"
local Errors = require "kong.db.errors"
local Schema = require "kong.db.schema"

-- The workspace of a database that is not open yet (kong/constants.lua).
local DEFAULT_WORKSPACE = "0dc6f45b-8f8d-40d2-a504-473544ee190b"

local null = ngx.null

-- Statements that give rows, however few.
local READING = { select = true, with = true, show = true, values = true, table = true }

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

-- Runs one statement of SQL, with database = postgres: the rows, or how many were changed; or nil and
-- what is wrong. (sql, which of Kong's two connections: there is one here)
function db.connector:query(sql)
  if type(sql) ~= "string" then error("query must be a string", 2) end
  local rows, affected = native.query(sql)
  if not rows then return nil, affected end
  local verb = sql:match("^%s*(%a+)")
  if #rows == 0 and verb and not READING[verb:lower()] then return { affected_rows = affected } end
  return rows
end

-- Texts and names as SQL writes them.
function db.connector:escape_literal(value)
  if value == nil or value == null then return "NULL" end
  if type(value) == "boolean" then return value and "TRUE" or "FALSE" end
  if type(value) == "number" then return tostring(value) end
  return "'" .. (tostring(value):gsub("'", "''")) .. "'"
end

function db.connector:escape_identifier(name)
  return '"' .. (tostring(name):gsub('"', '""')) .. '"'
end

-- Connections are kept by the gateway itself.
function db.connector:setkeepalive() return true end
function db.connector:close() return true end

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
