-- URLs taken apart.
local url = { _VERSION = "1.0" }

-- scheme, host, port (a number, the scheme's own without one), path and query.
function url.parse(text)
  local scheme, rest = text:match "^(%a[%w+.-]*)://(.*)$"
  if not scheme then return nil, "bad url" end
  local authority, tail = rest:match "^([^/?#]*)(.*)$"
  local userinfo, hostport = authority:match "^(.*)@(.*)$"
  hostport = hostport or authority
  local host, port = hostport:match "^(%[.*%]):?(%d*)$"
  if not host then host, port = hostport:match "^([^:]*):?(%d*)$" end
  if not host then return nil, "bad host" end
  local path, query = tail:match "^([^?#]*)%??([^#]*)"
  return {
    scheme = scheme, host = host, userinfo = userinfo, path = path ~= "" and path or "/",
    port = tonumber(port) or (scheme == "https" and 443 or scheme == "http" and 80 or nil),
    query = query ~= "" and query or nil,
  }
end

return url
