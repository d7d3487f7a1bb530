-- Values as Lua source in the manner of Penlight's pl.pretty.
local tostring, type, format = tostring, type, string.format

local pretty = {}

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
               return then true until while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

local function quoted(text) return (format("%q", text):gsub("\\\n", "\\n")) end

local function key_text(key)
  if type(key) == "string" then
    if key:find "^[%a_][%w_]*$" and not KEYWORDS[key] then return key end
    return "[" .. quoted(key) .. "]"
  end
  return "[" .. tostring(key) .. "]"
end

local function before(a, b)
  if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
  return tostring(a) < tostring(b)
end

local function render(value, indent, space, seen, out)
  if type(value) ~= "table" then
    out[#out + 1] = type(value) == "string" and quoted(value) or tostring(value)
    return
  end
  if seen[value] then
    out[#out + 1] = "<cycle>"
    return
  end
  seen[value] = true
  local inner = indent .. space
  local line = space ~= "" and "\n" or ""
  local first = true
  local function member(prefix, item)
    out[#out + 1] = (first and "" or ",") .. line .. inner .. prefix
    first = false
    render(item, inner, space, seen, out)
  end
  out[#out + 1] = "{"
  for i = 1, #value do member("", value[i]) end
  local keys = {}
  for key in pairs(value) do
    if not (type(key) == "number" and key >= 1 and key <= #value and key % 1 == 0) then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, before)
  for _, key in ipairs(keys) do
    member(key_text(key) .. (space ~= "" and " = " or "="), value[key])
  end
  out[#out + 1] = (first and "" or line .. indent) .. "}"
  seen[value] = nil
end

-- The value as text, indented by `space` (two blanks; "" for one line).
function pretty.write(value, space)
  local out = {}
  render(value, "", space or "  ", {}, out)
  return table.concat(out)
end
function pretty.dump(value, file)
  local text = pretty.write(value)
  if not file then
    print(text)
    return true
  end
  return require("pl.utils").writefile(file, text)
end
function pretty.debug(...)
  for i = 1, select("#", ...) do print(i, pretty.write((select(i, ...)))) end
end
-- A table of constants from its source.
function pretty.read(text)
  if not text:find "^%s*{" then return nil, "not a Lua table" end
  if text:find "[^'\"%w_]function[^'\"%w_]" then
    return nil, "cannot have functions in table definition"
  end
  local chunk, problem = loadstring("return " .. text, "tbl")
  if not chunk then return nil, problem end
  setfenv(chunk, {})
  local ok, value = pcall(chunk)
  if not ok then return nil, value end
  return value
end
function pretty.load(text, env)
  local chunk, problem = loadstring(text, "tbl")
  if not chunk then return nil, problem end
  env = env or {}
  setfenv(chunk, env)
  local ok, err = pcall(chunk)
  if not ok then return nil, err end
  return env
end
local SIZES = { M = { { 1024 ^ 3, "GiB" }, { 1024 ^ 2, "MiB" }, { 1024, "KiB" } },
                N = { { 1e9, "B" }, { 1e6, "M" }, { 1e3, "K" } } }
function pretty.number(number, kind, digits)
  for _, size in ipairs(SIZES[kind or "N"] or {}) do
    if number >= size[1] then
      return format("%." .. (digits or 1) .. "f" .. size[2], number / size[1])
    end
  end
  return tostring(number) .. (kind == "M" and "B" or "")
end

return setmetatable(pretty, { __call = function(_, ...) return pretty.debug(...) end })
