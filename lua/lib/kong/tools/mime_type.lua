-- Media types (kong/tools/mime_type.lua).
local tools = {}

local TOKEN = "[^%c%s()<>@,;:\\\"/%[%]?={}\128-\255]+"
local lower, match, sub = string.lower, string.match, string.sub

-- One "; name=value"; the rest behind it.
local function parameter(rest)
  local name, after = match(rest, "^%s*;%s*(" .. TOKEN .. ")=(.*)$")
  if not name then return nil end
  local value, tail = match(after, "^(" .. TOKEN .. ")(.*)$")
  if not value then
    local stop = after:find('[^\\]"', 1)
    if sub(after, 1, 2) == '""' then return name, "", sub(after, 3) end
    if sub(after, 1, 1) ~= '"' or not stop then return nil end
    value, tail = sub(after, 2, stop), sub(after, stop + 2)
  end
  return name, value, tail
end

-- Type, subtype and parameters, in lower case; nothing if it is no media type.
function tools.parse_mime_type(text)
  local kind, subtype, rest = match(text, "^(" .. TOKEN .. ")/(" .. TOKEN .. ")(.*)$")
  if not kind then
    kind, rest = match(text, "^(%*)(.*)$")
    if not kind then return nil end
    subtype = "*"
  end
  local parameters = {}
  while match(rest, "%S") do
    local name, value, tail = parameter(rest)
    if not name then return nil end
    parameters[lower(name)], rest = value, tail
  end
  if rest ~= "" then return nil end
  return lower(kind), lower(subtype), parameters
end

-- Whether what is of the other type is of this type too; "*" and suffixes count.
function tools.includes(this, other)
  if type(this) ~= "table" then error("this must be a table", 2) end
  if type(other) ~= "table" then error("other must be a table", 2) end
  if this.type == "*" then return true end
  if this.type ~= other.type then return false end
  if this.subtype == "*" or this.subtype == other.subtype then return true end
  local suffix = match(other.subtype, "%+([^+]+)$")
  return suffix ~= nil and suffix == this.subtype
end

return tools
