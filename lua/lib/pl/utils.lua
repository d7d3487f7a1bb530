-- Helpers in the manner of Penlight's pl.utils.

local stringx_parts

local utils = { _VERSION = "1.14.0", stdout = io.stdout, stderr = io.stderr, lua51 = true,
                is_windows = false, dir_separator = "/" }

local type, select, tostring, error = type, select, tostring, error
local unpack = unpack

utils.patterns = {
  FLOAT = "[%+%-%d]%d*%.?%d*[eE]?[%+%-]?%d*", INTEGER = "[+%-%d]%d*", IDEN = "[%a_][%w_]*",
  FILE = "[%a%.\\][:%][%w%._%-\\]*",
}
utils.stdmt = { List = { _name = "List" }, Map = { _name = "Map" }, Set = { _name = "Set" },
                MultiMap = { _name = "MultiMap" } }

function utils.pack(...) return { n = select("#", ...), ... } end
function utils.unpack(t, i, j) return unpack(t, i or 1, j or t.n or #t) end
function utils.npairs(t, i, j, step)
  i, j, step = (i or 1) - (step or 1), j or t.n or #t, step or 1
  return function()
    i = i + step
    if i <= j then return i, t[i] end
  end
end
function utils.printf(text, ...) io.stdout:write(text:format(...)) end
function utils.fprintf(file, text, ...) file:write(text:format(...)) end

-- The text with every magic character of patterns escaped.
function utils.escape(text) return (text:gsub("[%-%.%+%[%]%(%)%$%^%%%?%*]", "%%%1")) end

function utils.choose(condition, yes, no)
  if condition then return yes end
  return no
end

function utils.array_tostring(t, into, render)
  into = into or {}
  for i = 1, #t do into[i] = render and render(t[i], i) or tostring(t[i]) end
  return into
end

function utils.is_type(value, kind)
  if type(kind) == "string" then return type(value) == kind end
  return getmetatable(value) == kind
end

-- The value itself; an error if it is of another type (or fails a check).
function utils.assert_arg(n, value, kind, check, text, level)
  if type(value) ~= kind then
    error(("argument %d expected a '%s' got a '%s'"):format(n, kind, type(value)), level or 2)
  end
  if check and not check(value) then
    error(("argument %d: '%s' %s"):format(n, tostring(value), text or "is not valid"), level or 2)
  end
  return value
end
function utils.assert_string(n, value) return utils.assert_arg(n, value, "string", nil, nil, 3) end

local on_error = "default"
function utils.on_error(mode) on_error = mode end
function utils.raise(text)
  if on_error == "error" then error(text, 2) end
  if on_error == "quit" then utils.quit(text) end
  return nil, text
end
function utils.quit(code, text, ...)
  if type(code) == "string" then code, text = 1, code end
  if text then io.stderr:write(text:format(...), "\n") end
  os.exit(code)
end

-- What a callable stands for: itself, or an operator's name.
function utils.function_arg(n, callable, text)
  if type(callable) == "function" then return callable end
  if type(callable) == "string" then
    local operator = require("pl.operator").optable[callable]
    if operator then return operator end
    return utils.string_lambda(callable)
  end
  local mt = getmetatable(callable)
  if mt and mt.__call then
    return function(...) return callable(...) end
  end
  error(("argument %d: %s"):format(n, text or "must be callable"), 2)
end

-- "|x,y| x+y" or "_+1" as a function.
utils.string_lambda = function(text)
  local args, body = text:match("^|(.-)|(.*)$")
  if not args then args, body = "_", text end
  local chunk, problem = loadstring("return function(" .. args .. ") return " .. body .. " end")
  if not chunk then return nil, problem end
  return chunk()
end
utils.memoize = function(fn)
  local seen = {}
  return function(key)
    if seen[key] == nil then seen[key] = fn(key) end
    return seen[key]
  end
end
function utils.bind1(fn, first)
  fn = utils.function_arg(1, fn)
  return function(...) return fn(first, ...) end
end
function utils.bind2(fn, second)
  fn = utils.function_arg(1, fn)
  return function(first, ...) return fn(first, second, ...) end
end

-- The parts of a text between delimiters (patterns unless `plain`; white space without one).
function utils.split(text, delimiter, plain, n)
  stringx_parts = stringx_parts or require("silverback.split")
  return stringx_parts(text, delimiter, plain, n)
end
function utils.splitv(text, delimiter, plain, n)
  return unpack(utils.split(text, delimiter, plain, n))
end

function utils.readfile(path, binary)
  local file, problem = io.open(path, binary and "rb" or "r")
  if not file then return nil, problem end
  local content = file:read("*a")
  file:close()
  return content
end
function utils.writefile(path, content, binary)
  local file, problem = io.open(path, binary and "wb" or "w")
  if not file then return nil, problem end
  file:write(content)
  file:close()
  return true
end
function utils.readlines(path)
  local file, problem = io.open(path, "r")
  if not file then return nil, problem end
  local lines = {}
  for line in file:lines() do lines[#lines + 1] = line end
  file:close()
  return lines
end

local function status(code)
  if code >= 256 then code = math.floor(code / 256) end
  return code == 0, code
end

-- Runs a shell's command: whether it succeeded, and its code.
function utils.execute(command) return status(os.execute(command)) end

-- The same with what it wrote to its output and to its errors.
function utils.executeex(command)
  local out, err = os.tmpname(), os.tmpname()
  local ok, code = utils.execute(command .. " > " .. out .. " 2> " .. err)
  local written, complaints = utils.readfile(out, true), utils.readfile(err, true)
  os.remove(out)
  os.remove(err)
  return ok, code, written or "", complaints or ""
end

-- As a shell's argument (or arguments, of a list).
function utils.quote_arg(argument)
  if type(argument) == "table" then
    local all = {}
    for i, one in ipairs(argument) do all[i] = utils.quote_arg(one) end
    return table.concat(all, " ")
  end
  if argument ~= "" and not argument:find("[^%w_@%%+=:,./-]") then return argument end
  return "'" .. argument:gsub("'", "'\\''") .. "'"
end

function utils.is_callable(value)
  local mt = getmetatable(value)
  return type(value) == "function" or (mt ~= nil and mt.__call ~= nil)
end
function utils.load(text, name, _, env)
  local chunk, problem = loadstring(text, name)
  if chunk and env then setfenv(chunk, env) end
  return chunk, problem
end
utils.setfenv, utils.getfenv = setfenv, getfenv
function utils.import(t, into)
  for key, value in pairs(type(t) == "string" and require(t) or t or utils) do
    (into or _G)[key] = value
  end
end
function utils.kpairs(t)
  return function(_, key)
    local value
    repeat key, value = next(t, key) until type(key) ~= "number"
    return key, value
  end
end

return utils
