-- From JSON to Lua values, as lua-cjson reads it.

local native = require "silverback.native"
local encoder = require "silverback.json.encode"

local null = native.null
local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local gsub, match, lower = string.gsub, string.match, string.lower
local error, setmetatable, tonumber, type = error, setmetatable, tonumber, type
local floor = math.floor
local concat = table.concat

local decoder = {}

local QUOTE, BACKSLASH, COMMA, COLON = 34, 92, 44, 58
local OBJECT, OBJECT_END, ARRAY, ARRAY_END = 123, 125, 91, 93

local TOKENS = {
  [OBJECT] = "T_OBJ_BEGIN", [OBJECT_END] = "T_OBJ_END", [ARRAY] = "T_ARR_BEGIN",
  [ARRAY_END] = "T_ARR_END", [COMMA] = "T_COMMA", [COLON] = "T_COLON", [QUOTE] = "T_STRING",
}

local UNESCAPED = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local read_value

local function fail(what, found, at)
  error("Expected " .. what .. " but found " .. found .. " at character " .. at, 0)
end

-- Where the next token begins.
local function skip(text, at)
  local code = byte(text, at)
  if code ~= 32 and code ~= 10 and code ~= 13 and code ~= 9 then return at end
  return find(text, "[^ \n\r\t]", at) or #text + 1
end

local function utf8(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64,
              0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

-- The character of `\uXXXX` (or a pair of them) whose backslash is at `at`, and how far it goes.
local function unicode(text, at)
  local high = match(text, "^\\u(%x%x%x%x)", at)
  local code = high and tonumber(high, 16)
  if not code or (code >= 0xDC00 and code <= 0xDFFF) then return nil end
  if code < 0xD800 or code > 0xDBFF then return utf8(code), at + 6 end
  local low = tonumber(match(text, "^\\u(%x%x%x%x)", at + 6) or "0", 16)
  if low < 0xDC00 or low > 0xDFFF then return nil end
  return utf8(0x10000 + (code - 0xD800) * 1024 + (low - 0xDC00)), at + 12
end

-- The string whose quote is at `at`; the position behind it; else nil and what is wrong.
local function read_string(text, at)
  local start = at + 1
  local stop = find(text, '["\\%z\1-\31]', start)
  if stop and byte(text, stop) == QUOTE then return sub(text, start, stop - 1), stop + 1 end
  local parts, n = {}, 0
  while stop do
    local code = byte(text, stop)
    n = n + 1
    parts[n] = sub(text, start, stop - 1)
    if code == QUOTE then return concat(parts), stop + 1 end
    n = n + 1
    if code ~= BACKSLASH then
      -- lua-cjson lets control characters stand, a zero byte at the end excepted.
      parts[n], start = char(code), stop + 1
    else
      local letter = sub(text, stop + 1, stop + 1)
      if letter == "u" then
        parts[n], start = unicode(text, stop)
        if not parts[n] then return nil, "invalid unicode escape code", stop end
      else
        parts[n], start = UNESCAPED[letter], stop + 2
        if not parts[n] then return nil, "invalid escape code", stop end
      end
    end
    stop = find(text, '["\\%z\1-\31]', start)
  end
  return nil, "unexpected end of string", #text + 1
end

local LARGEST = 2 ^ 63

local WORDS = { infinity = 1 / 0, inf = 1 / 0, nan = 0 / 0 }

-- The number at `at`; the position behind it.
local function read_number(settings, text, at)
  local digits = match(text, "^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  if digits and not find(text, "^[xX]", at + #digits) then
    local number = tonumber(digits)
    -- "1e" and "1.5e+" are the number before the e.
    while not number and digits ~= "" do
      digits = sub(digits, 1, -2)
      number = tonumber(digits)
    end
    if number then
      -- Whole numbers are read as integers of 64 bits, which end somewhere.
      if (number > LARGEST or number < -LARGEST) and not find(digits, "[.eE]") then
        number = number > 0 and LARGEST or -LARGEST
      end
      if not settings.decode_invalid and find(digits, "^-?0%d") then
        return nil, "invalid number"
      end
      return number, at + #digits
    end
  end
  if not settings.decode_invalid then return nil, digits and "invalid number" or "invalid token" end
  local hex = match(text, "^-?0[xX]%x+", at)
  if hex then return tonumber(hex), at + #hex end
  local sign, word = match(text, "^([+-]?)(%a+)", at)
  local number = word and WORDS[lower(word)]
  if not number then return nil, "invalid token" end
  return sign == "-" and -number or number, at + #sign + #word
end

-- What the token at `at` is called in errors.
local function token_name(settings, text, at)
  local code = byte(text, at)
  if not code then return "T_END" end
  if code == QUOTE then
    local value, problem = read_string(text, at)
    return value and "T_STRING" or problem
  end
  if TOKENS[code] then return TOKENS[code] end
  if find(text, "^true", at) or find(text, "^false", at) then return "T_BOOLEAN" end
  if find(text, "^null", at) then return "T_NULL" end
  local number, problem = read_number(settings, text, at)
  if not number then return problem end
  return find(text, "^-?%d+[^%d.eExX]", at) and "T_INTEGER"
         or find(text, "^-?%d+$", at) and "T_INTEGER" or "T_NUMBER"
end

local function too_deep(depth, at)
  error("Found too many nested data structures (" .. depth .. ") at character " .. at, 0)
end

local function read_object(settings, text, at, depth)
  if depth > settings.decode_depth then too_deep(depth, at) end
  local object = {}
  at = skip(text, at + 1)
  if byte(text, at) == OBJECT_END then return object, at + 1 end
  while true do
    if byte(text, at) ~= QUOTE then
      fail("object key string", token_name(settings, text, at), at)
    end
    local key, next_at, wrong_at = read_string(text, at)
    if not key then fail("object key string", next_at, wrong_at) end
    at = skip(text, next_at)
    if byte(text, at) ~= COLON then fail("colon", token_name(settings, text, at), at) end
    object[key], at = read_value(settings, text, skip(text, at + 1), depth)
    at = skip(text, at)
    local code = byte(text, at)
    if code == OBJECT_END then return object, at + 1 end
    if code ~= COMMA then fail("comma or object end", token_name(settings, text, at), at) end
    at = skip(text, at + 1)
  end
end

local function read_array(settings, text, at, depth)
  if depth > settings.decode_depth then too_deep(depth, at) end
  local array, n = {}, 0
  if settings.array_mt_on_decode then setmetatable(array, encoder.array_mt) end
  at = skip(text, at + 1)
  if byte(text, at) == ARRAY_END then return array, at + 1 end
  while true do
    n = n + 1
    array[n], at = read_value(settings, text, at, depth)
    at = skip(text, at)
    local code = byte(text, at)
    if code == ARRAY_END then return array, at + 1 end
    if code ~= COMMA then fail("comma or array end", token_name(settings, text, at), at) end
    at = skip(text, at + 1)
  end
end

-- The value at `at` and the position behind it.
function read_value(settings, text, at, depth)
  local code = byte(text, at)
  if code == QUOTE then
    local value, next_at, wrong_at = read_string(text, at)
    if not value then fail("value", next_at, wrong_at) end
    return value, next_at
  elseif code == OBJECT then
    return read_object(settings, text, at, depth + 1)
  elseif code == ARRAY then
    return read_array(settings, text, at, depth + 1)
  elseif code == 116 and find(text, "^true", at) then
    return true, at + 4
  elseif code == 102 and find(text, "^false", at) then
    return false, at + 5
  elseif code == 110 and find(text, "^null", at) then
    return null, at + 4
  elseif not code or TOKENS[code] then
    fail("value", token_name(settings, text, at), at)
  end
  local number, next_at = read_number(settings, text, at)
  if not number then fail("value", next_at, at) end
  return number, next_at
end

-- The decode function of a codec with these settings.
function decoder.new(settings)
  return function(...)
    if select("#", ...) ~= 1 then
      error("bad argument #1 to 'decode' (expected 1 argument)", 2)
    end
    local text = ...
    if type(text) == "number" then text = tostring(text) end
    if type(text) ~= "string" then
      error("bad argument #1 to 'decode' (string expected, got " .. type(text) .. ")", 2)
    end
    if #text >= 2 and (byte(text, 1) == 0 or byte(text, 2) == 0) then
      error("JSON parser does not support UTF-16 or UTF-32", 0)
    end
    local value, at = read_value(settings, text, skip(text, 1), 0)
    at = skip(text, at)
    if at <= #text then fail("the end", token_name(settings, text, at), at) end
    return value
  end
end

return decoder
