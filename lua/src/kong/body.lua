-- kong.request.get_body and kong.service.response.get_body as Lua code knows them: a third result
-- says the content type, and a null in JSON is cjson.null (kong/pdk/request.lua).
local kong = ...
local error, pcall, type = error, pcall, type
local decode = require("kong.tools.cjson").decode_with_array_mt

local KNOWN = { "application/x-www-form-urlencoded", "application/json", "multipart/form-data" }

-- The content type without what stands behind the first semicolon: the one that is understood, or
-- as it was sent.
local function mime_of(content_type)
  local lower = content_type:lower():match("^[^;]*")
  for i = 1, #KNOWN do
    if lower:sub(1, #KNOWN[i]) == KNOWN[i] then
      return KNOWN[i]
    end
  end
  return lower
end

-- (functions of the table: the decoded body, its bytes, a header)
local function with_mime(get_body, get_raw_body, get_header)
  return function(mimetype, max_args, max_size)
    local ok, body, err = pcall(get_body, mimetype, max_args, max_size)
    if not ok then
      error(body, 2)
    end
    local content_type = mimetype or get_header("content-type")
    if type(content_type) ~= "string" then
      return body, err
    end
    local mime = mime_of(content_type)
    if body ~= nil and mime == "application/json" then
      body = decode(get_raw_body(max_size))
    end
    return body, err, mime
  end
end

local request, response = kong.request, kong.service.response
request.get_body = with_mime(request.get_body, request.get_raw_body, request.get_header)
response.get_body = with_mime(response.get_body, function() return response.get_raw_body() end,
                              response.get_header)
