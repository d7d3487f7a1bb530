-- Strings in the manner of Penlight's pl.stringx.

local split_text = require "silverback.split"

local find, sub, match, rep, gsub = string.find, string.sub, string.match, string.rep, string.gsub
local concat, type = table.concat, type

local stringx = {}

local function only(pattern)
  return function(text) return find(text, pattern) == 1 end
end
stringx.isalpha = only("^%a+$")
stringx.isdigit = only("^%d+$")
stringx.isalnum = only("^%w+$")
stringx.isspace = only("^%s+$")
function stringx.islower(text) return find(text, "^[%l%s]+$") ~= nil end
function stringx.isupper(text) return find(text, "^[%u%s]+$") ~= nil end

local function any(text, affixes, test)
  if type(affixes) ~= "table" then return test(text, affixes) end
  for _, affix in ipairs(affixes) do
    if test(text, affix) then return true end
  end
  return false
end
function stringx.startswith(text, prefixes)
  return any(text, prefixes, function(t, prefix) return sub(t, 1, #prefix) == prefix end)
end
function stringx.endswith(text, suffixes)
  return any(text, suffixes, function(t, suffix)
    return #t >= #suffix and sub(t, #t - #suffix + 1) == suffix
  end)
end

function stringx.join(separator, list) return concat(list, separator) end
function stringx.concat(list, separator) return concat(list, separator) end

-- The parts between plain delimiters, at most n, as a List.
function stringx.split(text, delimiter, n)
  local parts = split_text(text, delimiter, true, n)
  local ends = delimiter and delimiter ~= "" and sub(text, -#delimiter) == delimiter
  if ends and text ~= "" and #parts < (n or math.huge) then parts[#parts + 1] = "" end
  return setmetatable(parts, require "pl.List")
end

function stringx.splitlines(text, keep_ends)
  local lines = {}
  for line, ending in gsub(text, "\r\n", "\n"):gmatch("([^\n]*)(\n?)") do
    if line == "" and ending == "" then break end
    lines[#lines + 1] = keep_ends and line .. ending or line
  end
  return setmetatable(lines, require "pl.List")
end
function stringx.lines(text)
  local lines, i = stringx.splitlines(text), 0
  return function()
    i = i + 1
    return lines[i]
  end
end
function stringx.expandtabs(text, width)
  width = width or 8
  return (gsub(text, "([^\t\r\n]*)\t", function(before)
    return before .. rep(" ", width - #before % width)
  end))
end

function stringx.lfind(text, part, first, last)
  local from, to = find(text, part, first, true)
  if from and (not last or to <= last) then return from end
end
function stringx.rfind(text, part, first, last)
  local found
  local at = find(text, part, first or 1, true)
  while at and (not last or at + #part - 1 <= last) do
    found = at
    at = find(text, part, at + 1, true)
  end
  return found
end
function stringx.count(text, part, overlapping)
  local n, at = 0, 1
  while part ~= "" do
    local from, to = find(text, part, at, true)
    if not from then break end
    n = n + 1
    at = overlapping and from + 1 or to + 1
  end
  return n
end
function stringx.replace(text, old, new, n)
  old = gsub(old, "[%-%.%+%[%]%(%)%$%^%%%?%*]", "%%%1")
  return (gsub(text, old, (gsub(new, "%%", "%%%%")), n))
end

function stringx.ljust(text, width, char) return text .. rep(char or " ", width - #text) end
function stringx.rjust(text, width, char) return rep(char or " ", width - #text) .. text end
function stringx.center(text, width, char)
  local missing = width - #text
  if missing <= 0 then return text end
  local left = math.floor(missing / 2)
  return rep(char or " ", left) .. text .. rep(char or " ", missing - left)
end

local function class(chars)
  return chars and "[" .. gsub(chars, "[%]%^%-%%]", "%%%0") .. "]*" or "%s*"
end
function stringx.lstrip(text, chars) return match(text, "^" .. class(chars) .. "(.*)$") end
function stringx.rstrip(text, chars)
  local keep = chars and "[" .. gsub(chars, "[%]%^%-%%]", "%%%0") .. "]" or "%s"
  local last = #text
  while last > 0 and find(sub(text, last, last), keep) do last = last - 1 end
  return sub(text, 1, last)
end
function stringx.strip(text, chars) return stringx.rstrip(stringx.lstrip(text, chars), chars) end

function stringx.partition(text, separator)
  local from, to = find(text, separator, 1, true)
  if not from then return text, "", "" end
  return sub(text, 1, from - 1), separator, sub(text, to + 1)
end
function stringx.rpartition(text, separator)
  local from = stringx.rfind(text, separator)
  if not from then return "", "", text end
  return sub(text, 1, from - 1), separator, sub(text, from + #separator)
end
function stringx.splitv(text, delimiter) return unpack(stringx.split(text, delimiter)) end
function stringx.at(text, position) return sub(text, position, position) end
function stringx.title(text)
  return (gsub(text, "(%S)(%S*)", function(first, rest) return first:upper() .. rest:lower() end))
end
stringx.capitalize = stringx.title
function stringx.shorten(text, width, from_end)
  if #text <= width then return text end
  if width < 3 then return rep(".", width) end
  return from_end and "..." .. sub(text, #text - width + 4) or sub(text, 1, width - 3) .. "..."
end
function stringx.indent(text, n, char)
  return (gsub(text, "([^\n]+)", rep(char or " ", n) .. "%1"))
end
function stringx.quote_string(text) return ("%q"):format(text) end
function stringx.import()
  for name, fn in pairs(stringx) do string[name] = string[name] or fn end
end

return stringx
