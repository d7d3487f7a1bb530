-- Where code of configurations runs (kong/tools/sandbox): with `untrusted_lua = sandbox` it reaches
-- what is listed here and nothing else; with `on` it reads all globals; it never writes them.

local GLOBALS = {
  "_VERSION", "assert", "error", "ipairs", "next", "pairs", "pcall", "print", "select",
  "tonumber", "tostring", "type", "unpack", "xpcall",
}

local PARTS = {
  bit = { "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift", "rol", "ror", "rshift",
          "tobit", "tohex" },
  coroutine = { "create", "resume", "running", "status", "wrap", "yield" },
  io = { "type" },
  jit = { "os", "arch", "version", "version_num" },
  math = { "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor",
           "fmod", "frexp", "huge", "ldexp", "log", "log10", "max", "min", "modf", "pi", "pow",
           "rad", "random", "sin", "sinh", "sqrt", "tan", "tanh" },
  os = { "clock", "date", "difftime", "time" },
  string = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep",
             "reverse", "sub", "upper" },
  table = { "clear", "clone", "concat", "foreach", "foreachi", "getn", "insert", "isarray",
            "isempty", "maxn", "move", "new", "nkeys", "pack", "remove", "sort", "unpack" },
}

-- Modules that are as harmless as the libraries above.
local MODULES = { "bit", "string.buffer", "table.clear", "table.clone", "table.isarray",
                  "table.isempty", "table.new", "table.nkeys" }

local OFF = "loading of untrusted Lua code disabled because 'untrusted_lua' config option is set " ..
            "to 'off'"

local function protected(name, key)
  error(("Cannot modify %s.%s. Protected by the sandbox."):format(name, tostring(key)), 0)
end

local function denied(name)
  return setmetatable({}, {
    __newindex = function(_, key) protected(name, key) end,
    __tostring = function() return "nil" end,
  })
end

-- A table that can be read and called; tables in it are the same. Those that are objects, with ways
-- of their own, are handed out as they are. What is written stands in the view alone, for all code
-- of the sandbox to see, or is refused where the view is sealed.
local function view(name, target, known, sealed)
  local inner = known or {}
  local meta = getmetatable(target)
  return setmetatable({}, {
    __index = function(_, key)
      local own = inner[key]
      if own ~= nil then
        return own
      end
      local value = target[key]
      if type(value) == "table" and not getmetatable(value) then
        value = view(name .. "." .. tostring(key), value, nil, sealed)
        inner[key] = value
      end
      return value
    end,
    __newindex = function(_, key, value)
      if sealed then
        protected(name, key)
      end
      inner[key] = value
    end,
    __call = meta and meta.__call,
  })
end

-- `kong` without what leads out of the sandbox or to secrets.
local function kong_of()
  local log = kong.log
  local known = {
    licensing = denied("kong.licensing"),
    configuration = kong.configuration and kong.configuration.remove_sensitive(),
    ctx = kong.ctx,
    log = log and view("kong.log", log),
  }
  return view("kong", kong, known)
end

-- `ngx` with its own ways of reading and writing `status`, `ctx`, `header` and the like.
local function ngx_of()
  local proxy = view("ngx", ngx)
  local meta = getmetatable(proxy)
  local read, write = meta.__index, meta.__newindex
  meta.__index = function(table, key)
    if key == "ctx" or key == "status" or key == "headers_sent" or key == "is_subrequest" then
      return ngx[key]
    end
    return read(table, key)
  end
  meta.__newindex = function(_, key, value)
    if key == "status" or key == "ctx" then
      ngx[key] = value
      return
    end
    write(proxy, key, value)
  end
  return proxy
end

-- Puts the global that a setting names, with dots, into an environment.
local function link(env, path)
  local from, to, last = _G, env, nil
  for part in path:gmatch("[^.]+") do
    if last then
      from = from[last]
      if type(from) ~= "table" then
        return
      end
      local inner = rawget(to, last)
      if type(inner) ~= "table" then
        inner = setmetatable({}, { __index = inner })
        rawset(to, last, inner)
      end
      to = inner
    end
    last = part
  end
  local value = last and from[last]
  if type(value) == "table" then
    value = setmetatable({}, { __index = value })
  end
  if last then
    rawset(to, last, value)
  end
end

local function setting(name)
  return kong and kong.configuration and kong.configuration[name]
end

local function require_of(allowed)
  return function(name)
    if not allowed[name] then
      error(("require '%s' not allowed within sandbox"):format(tostring(name)), 0)
    end
    return require(name)
  end
end

-- What can be read in the sandbox; made once.
local shared

local function environment()
  if shared then
    return shared
  end
  local env = {}
  for _, name in ipairs(GLOBALS) do
    env[name] = _G[name]
  end
  for name, functions in pairs(PARTS) do
    local part, library = {}, _G[name] or {}
    for _, key in ipairs(functions) do
      part[key] = library[key]
      if name == "table" and part[key] == nil then
        local there, module = pcall(require, "table." .. key)
        part[key] = there and module or nil
      end
    end
    env[name] = view(name, part, nil, true)
  end
  local allowed = {}
  for _, name in ipairs(MODULES) do
    allowed[name] = true
  end
  for _, name in ipairs(setting("untrusted_lua_sandbox_requires") or {}) do
    allowed[name] = true
  end
  env.require = require_of(allowed)
  env.kong = kong_of()
  env.ngx = ngx_of()
  for _, path in ipairs(setting("untrusted_lua_sandbox_environment") or {}) do
    link(env, path)
  end
  shared = env
  return env
end

-- An environment for one piece of code: it has its own globals.
local function own_environment(base, given)
  local env = given or {}
  if not getmetatable(env) then
    setmetatable(env, { __index = base })
  end
  rawset(env, "_G", env)
  return env
end

local function load_in(code, name, base, env)
  assert(type(code) == "string", "expected a string")
  local compiled, err = load(code, name, "t", own_environment(base, env))
  if not compiled then
    error(err, 0)
  end
  return compiled
end

local sandbox = {}

-- Compiles code for the setting of the node: raises what is wrong with it.
function sandbox.sandbox(code, name, _, env)
  local mode = setting("untrusted_lua")
  if mode == "off" then
    error(OFF, 0)
  end
  if mode == "on" then
    return load_in(code, name, _G, env)
  end
  return load_in(code, name, environment(), env)
end

sandbox.sandbox_lua = sandbox.sandbox
sandbox.sandbox_handler = sandbox.sandbox
sandbox.sandbox_schema = sandbox.sandbox

-- Compiles and runs code that is to give a function; false and an error if it does not.
function sandbox.validate_function(code, name, mode, env)
  local ok, compiled = pcall(sandbox.sandbox, code, name, mode, env)
  if not ok then
    return false, "Error parsing function: " .. tostring(compiled)
  end
  local success, made = pcall(compiled)
  if not success then
    return false, made
  end
  if type(made) == "function" then
    return made
  end
  return false, "Bad return value from function, expected function type, got " .. type(made)
end

function sandbox.validate(code, name, mode, env)
  local _, err = sandbox.validate_function(code, name, mode, env)
  if err then
    return false, err
  end
  return true
end

-- Whether code compiles, without running it.
function sandbox.validate_safe(code, name, mode, env)
  local ok, err = pcall(sandbox.sandbox, code, name, mode, env)
  if not ok then
    return false, "Error parsing function: " .. tostring(err)
  end
  return true
end

function sandbox.parse(code, name, mode, env)
  return assert(sandbox.validate_function(code, name, mode, env))
end

local kong_sandbox = {}
function kong_sandbox.protect(code, options)
  local env = type(options) == "table" and options.env or nil
  local name = type(options) == "string" and options or nil
  return load_in(code, name, environment(), env)
end
kong_sandbox.protect_lua = kong_sandbox.protect
kong_sandbox.protect_handler = kong_sandbox.protect
kong_sandbox.protect_schema = kong_sandbox.protect
function kong_sandbox.run(code, options, ...)
  return kong_sandbox.protect(code, options)(...)
end
-- What the settings say, as plugins ask for it.
sandbox.configuration = setmetatable({}, {
  __index = function(_, name)
    local mode = setting("untrusted_lua")
    if name == "enabled" then return mode ~= "off" end
    if name == "sandbox_enabled" then return mode ~= "off" and mode ~= "on" end
    if name == "environment" then return environment() end
  end,
})

sandbox.kong = setmetatable(kong_sandbox, {
  __call = function(_, code, options) return kong_sandbox.protect(code, options) end,
})

return sandbox
