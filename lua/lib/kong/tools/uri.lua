-- Paths of URIs (kong/tools/uri.lua).

local byte, char, format = string.byte, string.char, string.format
local gsub, upper = string.gsub, string.upper
local find, sub, tonumber, concat = string.find, string.sub, tonumber, table.concat

local tools = {}

-- With escapes for what may not stand in a head.
function tools.escape(uri)
  return (gsub(uri, "[^!#$&'()*+,/:;=?@%[\\%]%w%-_.~%%]", function(c)
    return format("%%%02X", byte(c))
  end))
end

-- Escapes of reserved characters stay, in upper case; others are undone.
local function decode(uri)
  return (gsub(uri, "%%(%x%x)", function(hex)
    local c = char(tonumber(hex, 16))
    if find(c, "[!*'();:@&=+$,/?%%#%[%]]") then return "%" .. upper(hex) end
    return c
  end))
end

-- RFC 3986, 5.2.4: without "." and ".."; with `merge`, "//" counts as "/".
local function remove_dots(path, merge)
  local out = {}
  while path ~= "" do
    if path == "/." then
      path = "/"
    elseif path == "/.." then
      path, out[#out] = "/", nil
    elseif path == "." or path == ".." then
      path = ""
    elseif sub(path, 1, 3) == "../" then
      path = sub(path, 4)
    elseif sub(path, 1, 2) == "./" then
      path = sub(path, 3)
    elseif sub(path, 1, 3) == "/./" then
      path = sub(path, 3)
    elseif sub(path, 1, 4) == "/../" then
      path, out[#out] = sub(path, 4), nil
    elseif merge and sub(path, 1, 2) == "//" then
      path = sub(path, 2)
    else
      local slash = find(path, "/", 2, true) or #path + 1
      out[#out + 1], path = sub(path, 1, slash - 1), sub(path, slash)
    end
  end
  return concat(out)
end

-- A path in its normal form.
function tools.normalize(uri, merge_slashes)
  if uri == "" or uri == "/" then return uri end
  uri = decode(uri)
  if not find(uri, ".", 1, true) and not (merge_slashes and find(uri, "//", 1, true)) then
    return uri
  end
  return remove_dots(uri, merge_slashes)
end

return tools
