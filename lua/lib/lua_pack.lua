-- Numbers and texts as bytes, in the manner of lua_pack.

local byte, char, sub, floor = string.byte, string.char, string.sub, math.floor

local SIZES = { b = 1, c = 1, C = 1, h = 2, H = 2, i = 4, I = 4, l = 8, L = 8 }
local SIGNED = { c = true, h = true, i = true, l = true }
local PREFIXES = { p = 1, P = 2, a = 4 }

local function read_number(text, at, size, little)
  local number = 0
  for i = 0, size - 1 do
    number = number * 256 + byte(text, little and at + size - 1 - i or at + i)
  end
  return number
end

local function write_number(number, size, little)
  local bytes = {}
  number = floor(number)
  for i = size, 1, -1 do
    bytes[little and size + 1 - i or i] = char(number % 256)
    number = floor(number / 256)
  end
  return table.concat(bytes)
end

-- Each letter of a format with its count and the order of bytes.
local function each(format)
  local little, next_item = true, format:gmatch "([%a<>=])(%d*)"
  return function()
    while true do
      local letter, count = next_item()
      if not letter then return nil end
      if letter == "<" or letter == "=" then
        little = true
      elseif letter == ">" then
        little = false
      else
        return letter, tonumber(count) or 1, little
      end
    end
  end
end

-- The position behind, and the values of a text from a position on.
local function unpack_from(text, format, at)
  at = at or 1
  local values = {}
  for letter, count, little in each(format) do
    if letter == "A" then
      values[#values + 1], at = sub(text, at, at + count - 1), at + count
    elseif letter == "z" then
      local stop = text:find("\0", at, true) or #text + 1
      values[#values + 1], at = sub(text, at, stop - 1), stop + 1
    else
      local size = SIZES[letter] or PREFIXES[letter]
      for _ = 1, count do
        if not size or at + size - 1 > #text then return at, unpack(values) end
        local number = read_number(text, at, size, little)
        at = at + size
        if PREFIXES[letter] then
          values[#values + 1], at = sub(text, at, at + number - 1), at + number
        else
          local negative = SIGNED[letter] and number >= 2 ^ (size * 8 - 1)
          if negative then number = number - 2 ^ (size * 8) end
          values[#values + 1] = number
        end
      end
    end
  end
  return at, unpack(values)
end

-- The values as bytes.
local function pack(format, ...)
  local values, at, out = { ... }, 1, {}
  for letter, count, little in each(format) do
    for _ = 1, letter == "A" and 1 or count do
      local value = values[at]
      at = at + 1
      if letter == "A" then
        out[#out + 1] = value
      elseif letter == "z" then
        out[#out + 1] = value .. "\0"
      elseif PREFIXES[letter] then
        out[#out + 1] = write_number(#value, PREFIXES[letter], little) .. value
      else
        out[#out + 1] = write_number(value, SIZES[letter], little)
      end
    end
  end
  return table.concat(out)
end

return { pack = pack, unpack = unpack_from }
