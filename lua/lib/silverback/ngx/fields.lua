-- Fields of `ngx` that are functions in disguise: header, var, arg, ctx, status.

local native = require "silverback.native"

local ngx, setmetatable, rawset, type = ngx, setmetatable, rawset, type
local exchange, gone = native.exchange, native.gone
local select, pairs = select, pairs
local lower, upper, gsub = string.lower, string.upper, string.gsub

local header_get, header_set = native.header_get, native.header_set
ngx.header = setmetatable({}, {
  __index = function(_, name) return header_get(name) end,
  __newindex = function(_, name, value) header_set(name, value) end,
})

local var, set_var = native.var, native.set_var
ngx.var = setmetatable({}, {
  __index = function(_, name)
    if type(name) == "number" then return nil end
    return var(name)
  end,
  __newindex = function(_, name, value) set_var(name, value) end,
})

local arg, set_arg = native.arg, native.set_arg
ngx.arg = setmetatable({}, {
  __index = function(_, position) return arg(position) end,
  __newindex = function(_, position, value) set_arg(position, value) end,
})

-- What Kong itself leaves in `ngx.ctx`, for plugins that look there.
local FROM_KONG = {
  service = function() return kong.router.get_service() end,
  route = function() return kong.router.get_route() end,
  authenticated_consumer = function() return kong.client.get_consumer() end,
  authenticated_credential = function() return kong.client.get_credential() end,
  workspace = function() return kong.default_workspace end,
  router_matches = function()
    local found = kong.request.get_uri_captures() or {}
    local captures = {}
    for name, value in pairs(found.named or {}) do captures[name] = value end
    for place, value in pairs(found.unnamed or {}) do captures[place] = value end
    return { uri_captures = captures }
  end,
}

-- What plugins leave there for Kong itself: who was authenticated, in the way before there was
-- kong.client.authenticate, and that an answer is signed as an upstream's (proxy-cache).
local FOR_KONG = {
  authenticated_consumer = function(consumer)
    kong.client.authenticate(consumer, kong.client.get_credential())
  end,
  authenticated_credential = function(credential)
    -- Whatever it is, somebody was authenticated by it.
    if credential and type(credential) ~= "table" then credential = {} end
    kong.client.authenticate(kong.client.get_consumer(), credential)
  end,
  KONG_PROXIED = native.set_proxied,
}

local CONTEXT = {
  __newindex = function(ctx, name, value)
    local take = FOR_KONG[name]
    if take then pcall(take, value) end
    rawset(ctx, name, value)
  end,
  __index = function(_, name)
    local get = FROM_KONG[name]
    if not get then return nil end
    local ok, value = pcall(get)
    return ok and value or nil
  end,
}

-- The tables of `ngx.ctx` by the number of their exchange.
local contexts = {}

local function forget(...)
  for i = 1, select("#", ...) do contexts[(select(i, ...))] = nil end
end

local function context()
  local id = exchange()
  if not id then error("no request ctx found", 3) end
  local found = contexts[id]
  if not found then
    -- Those of exchanges that have ended make room.
    forget(gone())
    found = setmetatable({}, CONTEXT)
    contexts[id] = found
  end
  return found
end

local status, headers_sent = native.status, native.headers_sent
setmetatable(ngx, {
  __index = function(_, key)
    if key == "ctx" then return context() end
    if key == "status" then return status() end
    if key == "headers_sent" then return headers_sent() end
    if key == "is_subrequest" then return false end
  end,
  __newindex = function(t, key, value)
    if key == "ctx" then
      context()
      if type(value) ~= "table" then
        error("ctx should be a table while getting a " .. type(value), 2)
      end
      contexts[exchange()] = value
    elseif key == "status" then
      native.set_status(value)
    elseif key == "headers_sent" then
      error("attempt to write to ngx.headers_sent", 2)
    else
      rawset(t, key, value)
    end
  end,
})

-- Names in any spelling find their header.
local HEADERS = {
  __index = function(t, name)
    if type(name) ~= "string" then return nil end
    return rawget(t, (gsub(lower(name), "_", "-")))
  end,
}

-- As HTTP/1 writes names: what a client or server has really sent is not kept.
local function titled(headers)
  local named = {}
  for name, value in pairs(headers) do
    named[(gsub(gsub(name, "^%l", upper), "%-%l", upper))] = value
  end
  return named
end

local function with_spellings(get)
  return function(most, raw)
    local headers, truncated = get(most)
    headers = raw and titled(headers) or setmetatable(headers, HEADERS)
    if truncated then return headers, truncated end
    return headers
  end
end

-- For functions of `kong` that give headers.
native.with_spellings = function(headers)
  return type(headers) == "table" and setmetatable(headers, HEADERS) or headers
end

ngx.req.get_headers = with_spellings(native.request_headers)
ngx.resp = { get_headers = with_spellings(native.answer_headers) }
