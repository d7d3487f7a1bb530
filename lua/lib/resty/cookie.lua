-- Cookies of the request and of the answer, in the manner of lua-resty-cookie.
local cookie = { _VERSION = "0.1.0" }
local METATABLE = { __index = cookie }

local function parse(text)
  local found = {}
  for part in text:gmatch "[^;]+" do
    local name, value = part:match "^%s*([^=]-)%s*=%s*(.-)%s*$"
    if name and name ~= "" then found[name] = value:match '^"(.*)"$' or value end
  end
  return found
end

-- Of the running request.
function cookie.new() return setmetatable({ _cookie = ngx.var.http_cookie }, METATABLE) end

-- All cookies by name; nil and what is wrong.
function cookie:get_all()
  if not self._cookie then return nil, "no cookie found in the current request" end
  self.cookie_table = self.cookie_table or parse(self._cookie)
  return self.cookie_table
end

function cookie:get(name)
  local all, problem = self:get_all()
  if not all then return nil, problem end
  return all[name]
end

function cookie.get_cookie_size(text) return #text end

local ATTRIBUTES = { { "expires", "Expires" }, { "max_age", "Max-Age" }, { "domain", "Domain" },
                     { "path", "Path" }, { "samesite", "SameSite" }, { "extension" } }

-- Adds a Set-Cookie header: key, value, expires, max_age, domain, path, secure, httponly,
-- samesite, extension.
function cookie.set(_, fields)
  if not fields.key or not fields.value then return nil, 'missing cookie field "key" or "value"' end
  if fields["max-age"] then fields.max_age = fields["max-age"] end
  local text = fields.key .. "=" .. fields.value
  for _, attribute in ipairs(ATTRIBUTES) do
    local value = fields[attribute[1]]
    if value then
      text = text .. "; " .. (attribute[2] and attribute[2] .. "=" or "") .. value
    end
  end
  if fields.secure then text = text .. "; Secure" end
  if fields.httponly then text = text .. "; HttpOnly" end
  require("ngx.resp").add_header("Set-Cookie", text)
  return true
end

return cookie
