-- The arguments of a request to the Admin API, with the types that a schema gives them
-- (kong/api/arguments.lua).
local null = ngx.null

local gmatch, ipairs, next, pairs, tonumber, type = string.gmatch, ipairs, next, pairs, tonumber, type

local arguments = {}
local infer

-- A text as a field wants it; what can't be one is left, to be refused by the schema.
local function infer_value(value, field)
  if not value or type(field) ~= "table" then return value end
  if value == "" or value == null then return null end
  local kind = field.type
  if kind == "number" or kind == "integer" then return tonumber(value) or value end
  if kind == "boolean" then
    if value == "true" then return true end
    if value == "false" then return false end
    return value
  end
  if kind == "array" or kind == "set" then
    if type(value) ~= "table" then value = { value } end
    for i, item in ipairs(value) do value[i] = infer_value(item, field.elements) end
  elseif type(value) ~= "table" then
    return value
  elseif kind == "foreign" then
    return infer(value, field.schema)
  elseif kind == "map" then
    for name, item in pairs(value) do value[name] = infer_value(item, field.values) end
  elseif kind == "record" and not field.abstract then
    for _, list in ipairs { field.fields or {}, field.shorthand_fields or {} } do
      for _, item in ipairs(list) do
        local name, inner = next(item)
        if value[name] ~= nil then value[name] = infer_value(value[name], inner) end
      end
    end
  end
  return value
end

function infer(args, schema)
  if not args or not schema then return args end
  for name, field in schema:each_field(args) do
    if args[name] then args[name] = infer_value(args[name], field) end
  end
  for _, item in ipairs(schema.shorthand_fields or {}) do
    local name, field = next(item)
    if args[name] then args[name] = infer_value(args[name], field) end
  end
  if schema.ttl == true and args.ttl then args.ttl = tonumber(args.ttl) or args.ttl end
  return args
end

-- The steps of a name such as `config.list[2].a`; `[]` is the place behind the last.
local function steps_of(name)
  local steps = {}
  for plain, index in gmatch(name, "([^%.%[%]]*)(%[?[^%.%[%]]*%]?)") do
    if plain ~= "" then steps[#steps + 1] = plain end
    if index == "[]" then
      steps[#steps + 1] = false
    elseif index ~= "" then
      local inside = index:match "^%[(.*)%]$"
      steps[#steps + 1] = inside and (tonumber(inside) or inside) or index
    end
  end
  return steps
end

local function put(to, steps, value)
  for i = 1, #steps do
    local step = steps[i]
    if step == false then step = #to + 1 end
    if i == #steps then
      to[step] = value
    else
      if type(to[step]) ~= "table" then to[step] = {} end
      to = to[step]
    end
  end
end

-- Arguments with the tables that their names describe, and the types of a schema.
function arguments.decode(args, schema)
  local decoded = {}
  for name, value in pairs(args or {}) do
    if type(name) == "string" then
      put(decoded, steps_of(name), value)
    else
      decoded[name] = value
    end
  end
  return infer(decoded, schema)
end

local BOTH = {
  __index = function(self, name)
    local value = rawget(self, "post")[name]
    if value == nil then value = rawget(self, "uri")[name] end
    return value
  end,
}

-- The arguments of this request: `uri`, `post`, or `body` where its type is not known. Options:
-- schema, decode (false leaves them as they came), max_uri_args, max_post_args.
function arguments.load(options)
  options = options or {}
  local function decoded(args)
    if options.decode == false then return args end
    return arguments.decode(args, options.schema)
  end
  local args = setmetatable({ uri = {}, post = {} }, BOTH)
  args.uri = decoded(ngx.req.get_uri_args(options.max_uri_args or 1000))
  local content_type = (ngx.var.content_type or ""):lower()
  if content_type == "" then return args end
  local body, problem
  if content_type:find("application/json", 1, true) == 1 then
    ngx.req.read_body()
    body, problem = require("cjson.safe").decode(ngx.req.get_body_data() or "")
    args.post = body or {}
  elseif content_type:find("application/x-www-form-urlencoded", 1, true) == 1
         or content_type:find("multipart/form-data", 1, true) == 1 then
    body, problem = kong.request.get_body(nil, options.max_post_args or 1000)
    args.post = decoded(body or {})
  else
    ngx.req.read_body()
    args.body = ngx.req.get_body_data()
  end
  if problem then ngx.log(ngx.NOTICE, problem) end
  return args
end

arguments.infer_value = infer_value

return arguments
