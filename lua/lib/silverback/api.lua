-- The paths that plugins add to the Admin API, or change of it: their `api.lua`
-- (kong/api/init.lua, kong/api/api_helpers.lua).

local lapis = require "lapis.application"
local Endpoints = require "kong.api.endpoints"
local Errors = require "kong.db.errors"
local native = require "silverback.database"
local load_module_if_exists = require("kong.tools.module").load_module_if_exists

local pairs, type = pairs, type

local api = {}

local METHODS = { GET = true, HEAD = true, POST = true, PUT = true, PATCH = true, DELETE = true,
                  OPTIONS = true }

-- The routes by number, as the gateway knows them.
local routes = {}

local function exit(status, body) return kong.response.exit(status, body) end

-- What is said of an error that a handler has ended with.
local function on_error(self)
  local problem = self.errors[1]
  local codes = Errors.codes
  if type(problem) == "table" and problem.code then
    problem.strategy = nil
    local code = problem.code
    if code == codes.NOT_FOUND then return exit(404, problem) end
    if code == codes.OPERATION_UNSUPPORTED then return exit(405, problem) end
    if code == codes.UNIQUE_VIOLATION or code == codes.PRIMARY_KEY_VIOLATION then
      return exit(409, problem)
    end
    if code == codes.SCHEMA_VIOLATION or code == codes.INVALID_PRIMARY_KEY
       or code == codes.FOREIGN_KEY_VIOLATION or code == codes.INVALID_OFFSET
       or code == codes.FOREIGN_KEYS_UNRESOLVED then
      return exit(400, problem)
    end
  elseif type(problem) == "table" then
    if problem.unique then return exit(409, problem.tbl) end
    if problem.foreign then return exit(404, problem.tbl or { message = "Not found" }) end
    if not problem.db then return exit(400, problem.tbl or problem.message) end
  end
  kong.log.err(type(problem) == "table" and (problem.message or problem.name) or problem)
  return exit(500, { message = "An unexpected error occurred" })
end

-- The endpoints of all kinds, with those of entities of plugins' own DAOs apart.
local function generated()
  local all, by_lua = {}, {}
  for _, dao in pairs(kong.db.daos) do
    local schema = dao.schema
    if schema.generate_admin_api ~= false then
      Endpoints.new(schema, all)
      if schema.dao and native.owner(schema.name) then Endpoints.new(schema, by_lua) end
    end
  end
  return all, by_lua
end

-- A route with a plugin's methods over its own.
local function customized(route, methods)
  local merged = { schema = route.schema, methods = {} }
  for name, method in pairs(route.methods) do merged.methods[name] = method end
  for name, method in pairs(methods) do
    local parent = route.methods[name]
    if parent and type(method) == "function" then
      merged.methods[name] = function(self, db, helpers)
        return method(self, db, helpers, function(after) return parent(self, db, helpers, after) end)
      end
    elseif name ~= "schema" then
      merged.methods[name] = method
    end
  end
  return merged
end

local function methods_of(verbs)
  local methods = {}
  for name, method in pairs(verbs.methods or verbs) do
    if type(method) == "function" then methods[name] = method end
  end
  return methods
end

-- A plugin's routes, put into `found`, with its name for what may be wrong with them.
local function add(found, all, custom, plugin)
  local by_schema = require("kong.api.api_helpers").is_new_db_routes(custom)
  for pattern, verbs in pairs(custom) do
    if type(verbs) == "table" and type(pattern) == "string" then
      local known = found[pattern] or by_schema and all[pattern]
      if known then
        found[pattern] = customized(known, methods_of(verbs))
      else
        found[pattern] = { schema = verbs.schema or by_schema, methods = methods_of(verbs) }
      end
      found[pattern].plugin = plugin
    end
  end
end

local function methods_list(route)
  local list = {}
  for name in pairs(route.methods) do
    if METHODS[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

-- Loads the `api.lua` of plugins, and gives what the gateway has to know: a list of pattern,
-- methods, and the name of the kind whose schema says what arguments mean.
function api.load(plugins)
  local all, found = generated()
  for _, plugin in ipairs(plugins) do
    local there, custom = load_module_if_exists("kong.plugins." .. plugin .. ".api")
    if there and type(custom) ~= "table" then
      error("api.lua of plugin '" .. plugin .. "' does not return a table", 0)
    end
    if there then add(found, all, custom, plugin) end
  end
  local patterns = {}
  for pattern in pairs(found) do patterns[#patterns + 1] = pattern end
  table.sort(patterns)
  local list = {}
  routes = {}
  for i, pattern in ipairs(patterns) do
    local route = found[pattern]
    route.pattern, routes[i] = pattern, route
    list[i] = { pattern = pattern, methods = methods_list(route), plugin = route.plugin,
                schema = route.schema and route.schema.name }
  end
  return list
end

local HEADERS = {
  __index = function(headers, name)
    return type(name) == "string" and rawget(headers, name:lower()) or nil
  end,
}

local ARGUMENTS = {
  __index = function(args, name)
    local post = rawget(args, "post")[name]
    if post ~= nil then return post end
    return rawget(args, "uri")[name]
  end,
}

-- What a handler is called on.
local function request(call, route)
  local params = {}
  for _, part in ipairs { call.uri, call.post, call.parameters } do
    for name, value in pairs(part) do params[name] = value end
  end
  local headers = setmetatable(call.headers, HEADERS)
  return {
    req = {
      method = call.method, cmd_mth = call.method, cmd_url = call.target, headers = headers,
      relative_url = call.target, params_get = call.uri, params_post = call.post,
      parsed_url = { path = call.path, query = call.query, scheme = "http" },
      read_body_as_string = function() return call.body end,
    },
    params = params, url_params = call.parameters, GET = call.uri, POST = call.post,
    json = call.is_json and call.post or nil,
    args = setmetatable({ uri = call.uri, post = call.post }, ARGUMENTS),
    route_name = route.pattern, options = {}, session = {}, res = { headers = {} },
  }
end

-- Answers what a handler has returned, if it has not answered yet.
local function answer(result)
  if type(result) == "string" then return kong.response.exit(200, result) end
  if type(result) ~= "table" then
    if ngx.headers_sent then return nil end
    return kong.response.exit(ngx.status ~= 0 and ngx.status or 200)
  end
  if result.redirect_to then
    return kong.response.exit(result.status or 302, nil, { Location = result.redirect_to })
  end
  local body = result.json
  if body == nil then body = type(result[1]) == "string" and result[1] or nil end
  return kong.response.exit(result.status or 200, body, result.headers)
end

local function trace(problem)
  if lapis.yielded(problem) then return problem end
  return debug.traceback(tostring(problem), 2)
end

local helpers = { yield_error = lapis.yield_error }

-- Answers a request to the route of this number.
function api.dispatch(number, call)
  local route = routes[number]
  local methods = route.methods
  local method = methods[call.method] or call.method == "HEAD" and methods.GET
  local self = request(call, route)
  local ok, result = xpcall(function()
    if methods.before then methods.before(self, kong.db, helpers) end
    if not method then return exit(405, { message = "Method not allowed" }) end
    return method(self, kong.db, helpers)
  end, trace)
  if not ok then
    local yielded = lapis.yielded(result)
    if yielded then
      self.errors = { yielded.problem }
      result = (methods.on_error or on_error)(self)
    else
      kong.log.err(result)
      return exit(500, { message = "An unexpected error occurred" })
    end
  end
  return answer(result)
end

return api
