-- Templates in the manner of Penlight's pl.template: `$(expression)` in texts, and lines of Lua
-- that begin with "#".

local find, sub, match, format = string.find, string.sub, string.match, string.format
local concat, tostring, type = table.concat, tostring, type

local template = {}

local function escape_class(char) return (char:gsub("%W", "%%%0")) end

-- The pieces of a line as Lua: texts, and expressions in brackets behind `inline`.
local function put_line(line, into, settings)
  local at = 1
  local marker = escape_class(settings.inline_escape) .. "()(%b" .. settings.brackets .. ")()"
  while true do
    local start, inner, stop = find(line, marker, at)
    local position, code, after = match(line, marker, at)
    if not start then break end
    stop = after
    if start > at then into[#into + 1] = format("__put(%q)", sub(line, at, start - 1)) end
    into[#into + 1] = "__put(__value(" .. sub(code, 2, -2) .. "))"
    at = stop
    inner = position
  end
  if at <= #line then into[#into + 1] = format("__put(%q)", sub(line, at)) end
end

-- A template as the source of a Lua chunk.
local function source(text, settings)
  local into = { "local __put, __value = ...; " }
  local escape = "^%s*" .. escape_class(settings.escape) .. "+"
  for line, ending in text:gmatch "([^\n]*)(\n?)" do
    if line == "" and ending == "" then break end
    local _, last = find(line, escape)
    if last then
      into[#into + 1] = sub(line, last + 1) .. "\n"
    else
      put_line(line .. ending, into, settings)
      -- Keep the template's own line numbers.
      if ending ~= "" then into[#into + 1] = "\n" end
    end
  end
  return concat(into, " ")
end

local methods = {}
methods.__index = methods

-- The text with the values of `env`, which sees `parent`; nil, what is wrong and the source.
function methods:render(env, parent, debug)
  env = env or {}
  if parent then setmetatable(env, { __index = parent }) end
  local out = {}
  local function put(text) out[#out + 1] = text end
  local function value(v)
    if v == nil then return "" end
    return type(v) == "string" and v or tostring(v)
  end
  setfenv(self.fn, env)
  local ok, problem = pcall(self.fn, put, value)
  if not ok then return nil, problem, self.code end
  return concat(out), nil, debug and self.code or nil
end

-- A template that is ready to be rendered; nil, what is wrong and the source.
function template.compile(text, options)
  options = options or {}
  local settings = {
    escape = options.escape or "#",
    inline_escape = options.inline_escape or "$",
    brackets = options.inline_brackets or "()",
  }
  local code = source(text, settings)
  local fn, problem = loadstring(code, options.chunk_name or "TMP")
  if not fn then return nil, problem, code end
  return setmetatable({ fn = fn, code = code }, methods)
end

-- The text of a template with the values of `env`.
function template.substitute(text, env)
  env = env or {}
  local made, problem, code = template.compile(text, {
    chunk_name = rawget(env, "_chunk_name"), escape = rawget(env, "_escape"),
    inline_escape = rawget(env, "_inline_escape"), inline_brackets = rawget(env, "_brackets"),
  })
  if not made then return nil, problem, code end
  return made:render(env, rawget(env, "_parent"), rawget(env, "_debug"))
end

return template
