-- URLs in the manner of LuaSocket's socket.url.

local byte, char, format, gsub, match, find = string.byte, string.char, string.format, string.gsub,
                                             string.match, string.find
local sub, tonumber, setmetatable = string.sub, tonumber, setmetatable

local url = { _VERSION = "URL 1.0.3" }

-- With every byte but letters, digits, "-", "." and "_" escaped.
function url.escape(text)
  return (gsub(text, "[^A-Za-z0-9_]", function(c)
    if c == "-" or c == "." then return nil end
    return format("%%%02x", byte(c))
  end))
end
function url.unescape(text)
  return (gsub(text, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local PLAIN = "[^%w%-_.!~*'()]"
local function segment(text)
  return (gsub(text, PLAIN, function(c)
    if find(":@&=+$,", c, 1, true) then return nil end
    return format("%%%02x", byte(c))
  end))
end

local function take(text, pattern, put)
  return (gsub(text, pattern, function(found)
    put(found)
    return ""
  end, 1))
end

-- The parts that are there, over those of `default`; nil and what is wrong.
function url.parse(text, default)
  local parsed = {}
  for key, value in pairs(default or parsed) do parsed[key] = value end
  if not text or text == "" then return nil, "invalid url" end
  text = take(text, "#(.*)$", function(f) parsed.fragment = f end)
  text = take(text, "^([%a][%w+%-.]*):", function(s) parsed.scheme = s end)
  text = take(text, "^//([^/?]*)", function(a) parsed.authority = a end)
  text = take(text, "%?(.*)$", function(q) parsed.query = q end)
  text = take(text, "%;(.*)$", function(p) parsed.params = p end)
  if text ~= "" then parsed.path = text end
  local authority = parsed.authority
  if not authority then return parsed end
  authority = take(authority, "^([^@]*)@", function(u) parsed.userinfo = u end)
  authority = take(authority, ":([^:%]]*)$", function(p) parsed.port = p end)
  if authority ~= "" then parsed.host = match(authority, "^%[(.+)%]$") or authority end
  local userinfo = parsed.userinfo
  if userinfo then
    userinfo = take(userinfo, ":([^:]*)$", function(p) parsed.password = p end)
    parsed.user = userinfo
  end
  return parsed
end

local function authority_of(parsed)
  if not parsed.host then return parsed.authority end
  local authority = find(parsed.host, ":", 1, true) and "[" .. parsed.host .. "]" or parsed.host
  if parsed.port then authority = authority .. ":" .. parsed.port end
  local userinfo = parsed.userinfo
  if parsed.user then
    userinfo = parsed.user .. (parsed.password and ":" .. parsed.password or "")
  end
  return userinfo and userinfo .. "@" .. authority or authority
end

-- The URL of its parts.
function url.build(parsed)
  local text = parsed.path or ""
  if parsed.params then text = text .. ";" .. parsed.params end
  if parsed.query then text = text .. "?" .. parsed.query end
  local authority = authority_of(parsed)
  if authority then
    if text ~= "" and not find(text, "^[/?;]") then text = "/" .. text end
    text = "//" .. authority .. text
  end
  if parsed.scheme then text = parsed.scheme .. ":" .. text end
  if parsed.fragment then text = text .. "#" .. parsed.fragment end
  return text
end

local function remove_dots(path)
  path = gsub(path, "[^/]*/%.%./", function(part) return part ~= "../../" and "" or nil end)
  path = gsub(gsub(path, "/%./", "/"), "/%.$", "/")
  return path
end

-- A reference seen from a base.
function url.absolute(base, relative)
  local base_parts = type(base) == "table" and base or url.parse(base)
  base = type(base) == "table" and url.build(base) or base
  local parts = url.parse(relative)
  if not base_parts then return relative end
  if not parts then return base end
  if parts.scheme then return relative end
  parts.scheme = base_parts.scheme
  if parts.authority then return url.build(parts) end
  parts.authority = base_parts.authority
  if not parts.path then
    parts.path = base_parts.path
    parts.params = parts.params or base_parts.params
    parts.query = parts.query or base_parts.query
  elseif sub(parts.path, 1, 1) ~= "/" then
    local folder = gsub(base_parts.path or "", "[^/]*$", "")
    parts.path = remove_dots(folder .. parts.path)
  end
  return url.build(parts)
end

-- The segments of a path, decoded.
function url.parse_path(path)
  local parsed = {}
  for part in gsub(path or "", "^/", ""):gmatch "[^/]+" do
    parsed[#parsed + 1] = url.unescape(part)
  end
  if sub(path or "", 1, 1) == "/" then parsed.is_absolute = 1 end
  if sub(path or "", -1) == "/" then parsed.is_directory = 1 end
  return parsed
end

function url.build_path(parsed, unsafe)
  local parts = {}
  for i = 1, #parsed do parts[i] = unsafe and parsed[i] or segment(parsed[i]) end
  return (parsed.is_absolute and "/" or "") .. table.concat(parts, "/")
         .. (parsed.is_directory and #parts > 0 and "/" or "")
end

return url
