-- HTTP: arguments, media types, error pages, directives (kong/tools/http.lua).

local strings = require "kong.tools.string"
local arguments = require "kong.tools.http.arguments"
local pages = require "kong.tools.http.pages"

local find, lower, match, format = string.find, string.lower, string.match, string.format
local type, tonumber, tostring = type, tonumber, tostring

local tools = {
  CONTENT_TYPES = {
    CONTENT_TYPE = "Content-Type",
    CONTENT_TYPE_POST = "application/x-www-form-urlencoded",
    CONTENT_TYPE_JSON = "application/json",
    CONTENT_TYPE_FORM_DATA = "multipart/form-data",
  },
  encode_args = arguments.encode_args,
  decode_args = arguments.decode_args,
  get_response_type = pages.get_response_type,
  get_mime_type = pages.get_mime_type,
  get_error_template = pages.get_error_template,
}

-- Whether the client speaks https, to us or to what terminates it in front of us.
function tools.check_https(trusted_ip, allow_terminated)
  if lower(ngx.var.scheme) == "https" then return true end
  local forwarded = allow_terminated and trusted_ip and ngx.var.http_x_forwarded_proto
  if not forwarded then return false end
  if find(forwarded, ",", 1, true) then
    return nil, "Only one X-Forwarded-Proto header allowed"
  end
  return lower(forwarded) == "https"
end

-- The token itself if it is one by RFC 2616; nil and what is wrong.
function tools.validate_http_token(token)
  if token == nil or token == "" then return nil, "no token provided" end
  if not find(token, "[%z\1-\32\127-\255()<>@,;:\\\"/?={}%[%]]") then return token end
  return nil, "contains one or more invalid characters. ASCII control characters (0-31;127), " ..
              "space, tab and the characters ()<>@,;:\\\"/?={}[] are not allowed."
end
tools.validate_cookie_name = tools.validate_http_token

-- The name itself if it may name a header; nil and what is wrong.
function tools.validate_header_name(name)
  if name == nil or name == "" then return nil, "no header name provided" end
  if match(name, "^[%w_%-]+$") then return name end
  return nil, "bad header name '" .. name ..
              "', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
end

local FIXED = { [405] = "Method not allowed", [500] = "An unexpected error occurred",
                [502] = "Bad gateway" }
local USUAL = { [401] = "Unauthorized", [404] = "Not found", [503] = "Service unavailable" }

-- The body that goes with a status.
function tools.get_default_exit_body(status, message)
  if type(status) ~= "number" then error("code must be a number", 2) end
  if status < 100 or status > 599 then
    error("code must be a number between 100 and 599", 2)
  end
  if status == 204 then return nil end
  local body = FIXED[status] or message or USUAL[status]
  if body ~= nil and type(body) ~= "table" then body = { message = body } end
  return body
end

-- A request header's first value.
function tools.get_header(name, ctx)
  local headers = ctx and ctx.cached_request_headers or ngx.req.get_headers()
  if ctx then ctx.cached_request_headers = headers end
  local value = headers[name]
  return type(value) == "table" and value[1] or value
end

-- The directives of a header such as Cache-Control, names in lower case; true for those without a
-- value.
function tools.parse_directive_header(header)
  local directives = {}
  if not header then return require("kong.tools.table").EMPTY end
  if type(header) == "table" then header = table.concat(header, ", ") end
  for part in strings.isplitn(header, ",") do
    local name, value = match(part, "^%s*([^=]+)=?(.*)$")
    if name then
      directives[lower(name)] = tonumber(value) or (value ~= "" and value) or true
    end
  end
  return directives
end

-- How many seconds an answer may be kept, by its Cache-Control directives or its Expires.
function tools.calculate_resource_ttl(directives)
  local age = directives and (directives["s-maxage"] or directives["max-age"])
  if not age then
    local expires = ngx.var.sent_http_expires
    if type(expires) == "table" then expires = expires[#expires] end
    local at = ngx.parse_http_time(tostring(expires))
    age = at and at - ngx.time()
  end
  return age and math.max(age, 0) or 0
end

return tools
