-- Error pages by what clients accept.

local strings = require "kong.tools.string"

local type, tonumber, lower, match = type, tonumber, string.lower, string.match

local pages = {}

local UTF8 = "; charset=utf-8"
local TYPES = {
  ["application/grpc"] = "",
  ["text/html"] = "text/html" .. UTF8,
  ["application/json"] = "application/json" .. UTF8,
  ["text/plain"] = "text/plain" .. UTF8,
  ["application/xml"] = "application/xml" .. UTF8,
  ["application"] = "application/json" .. UTF8,
  ["text"] = "text/plain" .. UTF8,
}
local DEFAULT = TYPES["application/json"]

local TEMPLATES = {
  ["application/grpc"] = "",
  ["application/json"] = '{\n  "message":"%s",\n  "request_id":"%s"\n}',
  ["text/plain"] = "%s\nrequest_id: %s\n",
  ["application/xml"] = '<?xml version="1.0" encoding="UTF-8"?>\n<error>\n' ..
    "  <message>%s</message>\n  <requestid>%s</requestid>\n</error>\n",
  ["text/html"] = '<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8">\n' ..
    "    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>%s.</p>\n" ..
    "    <p>request_id: %s</p>\n  </body>\n</html>\n",
}

local function media_quality(part)
  part = lower(strings.strip(part))
  local media = match(part, "^([%w%-!#$&^_+.*]+/[%w%-!#$&^_+.*]+)")
  return media, tonumber(match(part, ";%s*q=([01]%.?%d*)")) or 1
end

-- The type to answer with, as an Accept header (or several) asks.
function pages.get_response_type(accept)
  local chosen, best = DEFAULT, 0
  if type(accept) == "table" then accept = table.concat(accept, ",") end
  for part in strings.isplitn(accept, ",") do
    local media, quality = media_quality(part)
    if media and quality > best then
      best, chosen = quality, pages.get_mime_type(media) or chosen
    end
  end
  return chosen
end

-- The type to answer with for a media type; without `use_default` nil and a text if there is none.
function pages.get_mime_type(header, use_default)
  header = strings.split_once(strings.strip(header), ";")
  local main, sub = match(header, "^([^/]*)/([^/]*)")
  local found
  if sub == "*" then
    found = main == "*" and DEFAULT or TYPES[main]
  elseif sub then
    found = TYPES[header]
  end
  if found or use_default ~= false then return found or DEFAULT end
  return nil, "could not find MIME type"
end

local custom = {}

-- What `error_template_*` names, read once.
local function custom_template(media)
  local name = match(media, "[^/]+$")
  if custom[name] == nil then
    local path = kong.configuration["error_template_" .. name]
    custom[name] = path and require("pl.file").read(path) or false
    if path and not custom[name] then
      ngx.log(ngx.ERR, "failed reading the custom ", name, " error template: file not found")
    end
  end
  return custom[name]
end

-- The page's format, with "%s" for the message and for the request's id.
function pages.get_error_template(media)
  local plain = media == "" and "application/grpc" or strings.split_once(media or "", ";")
  local template = TEMPLATES[plain]
  if not template then return nil, "no template found for MIME type " .. (media or "empty") end
  return template ~= "" and custom_template(plain) or template
end

return pages
