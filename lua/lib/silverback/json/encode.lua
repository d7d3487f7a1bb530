-- From Lua values to JSON, as lua-cjson writes it.

local buffer = require "string.buffer"
local native = require "silverback.native"

local null = native.null
local type, next, pairs, error, tostring = type, next, pairs, error, tostring
local floor, huge = math.floor, math.huge
local find, format, gsub, rep = string.find, string.format, string.gsub, string.rep
local getmetatable, rawget, sort = getmetatable, rawget, table.sort

-- The mark by which the gateway knows lists, however empty.
local encoder = {
  array_mt = { [-91] = true },
  empty_array_mt = { [-91] = true },
  empty_array = native.empty_array,
}

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\127"] = "\\u007f" }
for code = 0, 31 do ESCAPES[string.char(code)] = format("\\u%04x", code) end
for char, escape in pairs { ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n", ["\f"] = "\\f",
                            ["\r"] = "\\r" } do
  ESCAPES[char] = escape
end

local WITH_SLASH, WITHOUT_SLASH = '[%z\1-\31"\\/\127]', '[%z\1-\31"\\\127]'

-- Whether a table is written as an array, and how long it is.
local function array_length(settings, t)
  local max, items = 0, 0
  for key in pairs(t) do
    if type(key) ~= "number" or key < 1 or floor(key) ~= key then return nil end
    if key > max then max = key end
    items = items + 1
  end
  local ratio = settings.sparse_ratio
  if ratio > 0 and max > items * ratio and max > settings.sparse_safe then
    if not settings.sparse_convert then
      error("Cannot serialise table: excessively sparse array", 0)
    end
    return nil
  end
  return max
end

local function put_string(settings, out, text)
  local pattern = settings.escape_slash and WITH_SLASH or WITHOUT_SLASH
  if find(text, pattern) then text = gsub(text, pattern, ESCAPES) end
  out:put('"', text, '"')
end

local function number_text(settings, number)
  if number ~= number or number == huge or number == -huge then
    local allowed = settings.encode_invalid
    if not allowed then error("Cannot serialise number: must not be NaN or Infinity", 0) end
    if allowed == "null" then return "null" end
    return number ~= number and "NaN" or number > 0 and "Infinity" or "-Infinity"
  end
  return format(settings.number_format, number)
end

local put_value

local function new_line(settings, out, depth)
  if settings.indent ~= "" then out:put("\n", rep(settings.indent, depth)) end
end

local function put_array(settings, out, t, length, depth)
  out:put("[")
  local first = true
  for i = 1, length do
    local mark = #out
    if not first then out:put(",") end
    new_line(settings, out, depth)
    -- What is left out must leave no comma either; that takes the rare way.
    if put_value(settings, out, rawget(t, i), depth) == false then
      local kept = out:get(mark)
      out:reset()
      out:put(kept)
    else
      first = false
    end
  end
  if not first then new_line(settings, out, depth - 1) end
  out:put("]")
end

local function put_key(settings, out, key)
  local kind = type(key)
  if kind == "string" then
    put_string(settings, out, key)
  elseif kind == "number" then
    out:put('"', number_text(settings, key), '"')
  else
    error("Cannot serialise " .. kind .. ": table key must be a number or string", 0)
  end
  out:put(settings.indent ~= "" and ": " or ":")
end

local function put_member(settings, out, key, value, depth, first)
  local mark = #out
  if not first then out:put(",") end
  new_line(settings, out, depth)
  put_key(settings, out, key)
  if put_value(settings, out, value, depth) == false then
    local kept = out:get(mark)
    out:reset()
    out:put(kept)
    return first
  end
  return false
end

local function put_object(settings, out, t, depth)
  out:put("{")
  local first = true
  if settings.sort_keys then
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    for _, key in ipairs(keys) do
      first = put_member(settings, out, key, t[key], depth, first)
    end
  else
    for key, value in next, t do
      first = put_member(settings, out, key, value, depth, first)
    end
  end
  if not first then new_line(settings, out, depth - 1) end
  out:put("}")
end

local function put_table(settings, out, t, depth)
  depth = depth + 1
  if depth > settings.encode_depth then
    error("Cannot serialise, excessive depth (" .. depth .. ")", 0)
  end
  local mt = getmetatable(t)
  if mt == encoder.array_mt then return put_array(settings, out, t, #t, depth) end
  local length = array_length(settings, t)
  if not length then return put_object(settings, out, t, depth) end
  if length > 0 then return put_array(settings, out, t, length, depth) end
  if mt == encoder.empty_array_mt or not settings.empty_as_object then
    out:put("[]")
  else
    out:put("{}")
  end
end

-- False if the value was left out, as `encode_skip_unsupported_value_types` asks.
function put_value(settings, out, value, depth)
  local kind = type(value)
  if kind == "string" then
    put_string(settings, out, value)
  elseif kind == "number" then
    out:put(number_text(settings, value))
  elseif kind == "boolean" then
    out:put(value and "true" or "false")
  elseif kind == "table" then
    put_table(settings, out, value, depth)
  elseif kind == "nil" or value == null then
    out:put("null")
  elseif value == encoder.empty_array then
    out:put("[]")
  elseif settings.skip_unsupported then
    return false
  else
    error("Cannot serialise " .. kind .. ": type not supported", 0)
  end
end

-- The encode function of a codec with these settings.
function encoder.new(settings)
  return function(...)
    if select("#", ...) ~= 1 then
      error("bad argument #1 to 'encode' (expected 1 argument)", 2)
    end
    local out = buffer.new(256)
    put_value(settings, out, (...), 0)
    return out:tostring()
  end
end

return encoder
