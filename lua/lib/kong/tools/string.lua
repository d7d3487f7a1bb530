-- Strings: splitting, stripping, sizes (kong/tools/string.lua).

local stringx = require "pl.stringx"

local find, sub, format, match = string.find, string.sub, string.format, string.match
local gsub, lower = string.gsub, string.lower
local type, tostring, tonumber = type, tostring, tonumber

local tools = { join = stringx.join, split = stringx.split }

local function split_once(value, delimiter, plain)
  if value == nil or delimiter == nil then return value, nil end
  if delimiter == "" then return "", value end
  if value == "" then return "", nil end
  local first, last = find(value, delimiter, 1, plain)
  if not first then return value, nil end
  return sub(value, 1, first - 1), sub(value, last + 1)
end

-- What stands before and behind the first delimiter.
function tools.split_once(value, delimiter) return split_once(value, delimiter, true) end

-- The same with a Lua pattern.
function tools.psplit_once(value, pattern) return split_once(value, pattern, false) end

-- An empty delimiter parts a text into its characters between two empty strings.
local function characters(value, limit)
  if value == "" then return { "", "" }, 2 end
  local parts, n = { "" }, 1
  for i = 1, #value do
    if n == limit - 1 then
      parts[limit] = sub(value, i)
      return parts, limit
    end
    n = n + 1
    parts[n] = sub(value, i, i)
  end
  parts[n + 1] = ""
  return parts, n + 1
end

local function splitn(value, delimiter, n, plain)
  local limit = n or math.huge
  if limit < 1 or value == nil then return {}, 0 end
  if limit == 1 or delimiter == nil then return { value }, 1 end
  if delimiter == "" then return characters(value, limit) end
  local parts, count, at = {}, 1, 1
  while count < limit do
    local first, last = find(value, delimiter, at, plain)
    if not first then break end
    parts[count] = sub(value, at, first - 1)
    count, at = count + 1, last + 1
  end
  parts[count] = sub(value, at)
  return parts, count
end

-- The parts between delimiters, at most n, and how many they are.
function tools.splitn(value, delimiter, n) return splitn(value, delimiter, n, true) end

-- The same with a Lua pattern.
function tools.psplitn(value, pattern, n) return splitn(value, pattern, n, false) end

local function each(parts, count)
  local i = 0
  return function()
    i = i + 1
    if i <= count then return parts[i] end
  end
end

-- Goes through the parts.
function tools.isplitn(value, delimiter, n) return each(splitn(value, delimiter, n, true)) end

-- The same with a Lua pattern.
function tools.ipsplitn(value, pattern, n) return each(splitn(value, pattern, n, false)) end

-- Without white space at both ends; "" for nil.
function tools.strip(value)
  if value == nil then return "" end
  value = tostring(value)
  local first = find(value, "%S")
  return first and match(value, ".*%S", first) or ""
end

local UTF8 = {
  "^[%z\1-\127]+", "^[\194-\223][\123-\191]", "^\224[\160-\191][\128-\191]",
  "^[\225-\236][\128-\191][\128-\191]", "^\237[\128-\159][\128-\191]",
  "^[\238-\239][\128-\191][\128-\191]", "^\240[\144-\191][\128-\191][\128-\191]",
  "^[\241-\243][\128-\191][\128-\191][\128-\191]", "^\244[\128-\143][\128-\191][\128-\191]",
}

local function utf8_end(text, at)
  for i = 1, #UTF8 do
    local _, last = find(text, UTF8[i], at)
    if last then return last end
  end
end

-- Whether a text is UTF-8; where not, false and the position of what is wrong.
function tools.validate_utf8(value)
  local text = tostring(value)
  local at = 1
  while at <= #text do
    local last = utf8_end(text, at)
    if not last then return false, at end
    at = last + 1
  end
  return true
end

local UNITS = { k = { 1024, "KiB" }, m = { 1024 ^ 2, "MiB" }, g = { 1024 ^ 3, "GiB" } }

-- Bytes in another unit (b, k, m, g), with that many digits behind the point (2).
function tools.bytes_to_str(bytes, unit, scale)
  local letter = lower(unit or "")
  if letter == "" or letter == "b" then return format("%d", bytes) end
  scale = scale or 2
  if type(scale) ~= "number" or scale < 0 then
    error("scale must be equal or greater than 0", 2)
  end
  local found = UNITS[letter]
  if not found then
    error("invalid unit '" .. unit .. "' (expected 'k/K', 'm/M', or 'g/G')", 2)
  end
  return format("%." .. scale .. "f %s", bytes / found[1], found[2])
end

-- Bytes of a size as nginx writes them: "8k", "1m".
function tools.parse_ngx_size(text)
  assert(type(text) == "string", "Parameter #1 must be a string")
  local digits, unit = match(text, "^(.-)([kKmMgG]?)$")
  return (tonumber(digits) or 0) * (unit == "" and 1 or UNITS[lower(unit)][1])
end

local function decode_base64(text)
  return ngx.decode_base64(text) or require("ngx.base64").decode_base64url(text)
end

-- The decoded text; what is no base64 stays as it is. Lists are decoded in place.
function tools.try_decode_base64(value)
  if type(value) == "table" then
    for i, item in ipairs(value) do
      value[i] = type(item) == "string" and decode_base64(item) or item
    end
  elseif type(value) == "string" then
    return decode_base64(value) or value
  end
  return value
end

-- Underscores in the place of dashes.
function tools.replace_dashes(text) return (gsub(text, "-", "_")) end

-- The same in lower case.
function tools.replace_dashes_lower(text) return (gsub(lower(text), "-", "_")) end

return tools
