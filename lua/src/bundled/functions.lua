-- pre-function and post-function: plugins whose code stands in their configuration
-- (kong/plugins/pre-function).
local sandbox = require("kong.tools.sandbox")

local PHASES = { "certificate", "rewrite", "access", "header_filter", "body_filter", "log" }

-- A piece of code as a function to be called per request. Code that returns a function is run
-- once: what it returns is called from then on.
local function compile(code)
  local run = sandbox.sandbox(code)
  local first = true
  return function()
    if not first then
      return run()
    end
    -- Before the call: it may end the request and never come back.
    first = false
    local made = run()
    if type(made) == "function" then
      run = made
      made()
    end
  end
end

local function compile_all(codes)
  local functions = {}
  for i, code in ipairs(codes or {}) do
    functions[i] = compile(code)
  end
  return functions
end

-- Functions by configuration and phase; a configuration that is gone takes them along.
local compiled = setmetatable({}, { __mode = "k" })

local function run(conf, phase)
  local phases = compiled[conf]
  if not phases then
    phases = {}
    compiled[conf] = phases
  end
  local functions = phases[phase]
  if not functions then
    functions = compile_all(conf[phase])
    phases[phase] = functions
  end
  for i = 1, #functions do
    functions[i]()
  end
end

local plugin = {}

function plugin.handler(priority)
  local handler = { PRIORITY = priority, VERSION = "3.10.0" }
  for _, phase in ipairs(PHASES) do
    handler[phase] = function(_, conf)
      return run(conf, phase)
    end
  end
  return handler
end

function plugin.schema(name)
  local PROTOCOLS = { "grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp" }

  local function compiles(code)
    local _, err = loadstring(code)
    if err then
      return false, "error parsing " .. name .. ": " .. err
    end
    return true
  end

  local fields, names = {}, {}
  for i, phase in ipairs(PHASES) do
    names[i] = "config." .. phase
    fields[i] = { [phase] = {
      type = "array",
      required = true,
      default = {},
      elements = { type = "string", required = false, custom_validator = compiles },
    } }
  end
  return {
    name = name,
    fields = {
      { consumer = { type = "foreign", reference = "consumers", eq = ngx.null } },
      { protocols = { type = "set", required = true, default = { "grpc", "grpcs", "http", "https" },
                      elements = { type = "string", one_of = PROTOCOLS } } },
      { config = { type = "record", fields = fields } },
    },
    entity_checks = { { at_least_one_of = names } },
  }
end

return plugin
