-- A client of HTTP/1 over cosockets, in the manner of lua-resty-http.

local headers_of = require "resty.http_headers"
local bodies = require "resty.http.bodies"

local type, tostring, tonumber, pairs, ipairs = type, tostring, tonumber, pairs, ipairs
local match, find, lower, upper, format = string.match, string.find, string.lower, string.upper,
                                         string.format
local setmetatable, concat = setmetatable, table.concat

local http = { _VERSION = "0.17.2" }
http._USER_AGENT = "lua-resty-http/" .. http._VERSION .. " (Lua) ngx_lua/10028"
local METATABLE = { __index = http }

-- A client that is not connected yet.
function http.new()
  local sock, problem = ngx.socket.tcp()
  if not sock then return nil, problem end
  return setmetatable({ sock = sock, keepalive_supported = true, reader_state = {} }, METATABLE)
end

function http:set_timeout(ms) return self.sock:settimeout(ms) end
function http:set_timeouts(...) return self.sock:settimeouts(...) end
function http:get_reused_times() return self.sock:getreusedtimes() end
function http:close() return self.sock:close() end
function http:set_proxy_options(options) self.proxy_opts = options end
function http:ssl_handshake(...)
  self.ssl = true
  return self.sock:sslhandshake(...)
end

-- Keeps the connection for others, or closes it where the server has said so. 1, or 2 and a text
-- if it was closed.
function http:set_keepalive(...)
  if self.keepalive_supported then return self.sock:setkeepalive(...) end
  local ok, problem = self.sock:close()
  if not ok then return nil, problem end
  return 2, "connection must be closed"
end

-- Scheme, host, port, path and query, in a list; nil and what is wrong.
function http.parse_uri(_, uri, query_in_path)
  local scheme, rest = match(uri, "^([%a][%w+.-]*)://(.*)$")
  if not scheme then
    rest = match(uri, "^//(.*)$")
    scheme = rest and (ngx.var.scheme or "http")
  end
  if not rest then return nil, "bad uri: " .. tostring(uri) end
  scheme = lower(scheme)
  local authority, tail = match(rest, "^([^/?#]*)(.*)$")
  authority = match(authority, "@(.*)$") or authority
  local host, port = match(authority, "^(%[[^%]]+%]):?(%d*)$")
  if not host then host, port = match(authority, "^([^:]+):?(%d*)$") end
  if not host or (scheme ~= "http" and scheme ~= "https") then
    return nil, "bad uri: " .. tostring(uri)
  end
  port = tonumber(port) or (scheme == "https" and 443 or 80)
  local path, query = match(tail, "^([^?#]*)%??([^#]*)")
  if path == "" then path = "/" end
  if (query_in_path == nil or query_in_path) and query ~= "" then
    return { scheme, host, port, path .. "?" .. query, "" }
  end
  return { scheme, host, port, path, query }
end

local function proxy_of(self, scheme)
  local options = self.proxy_opts
  return options and (scheme == "https" and options.https_proxy or options.http_proxy)
end

-- Asks a proxy for a connection to a server that is to be spoken TLS with.
local function tunnel(self, host, port, authorization)
  local lines = { format("CONNECT %s:%d HTTP/1.1", host, port),
                  format("Host: %s:%d", host, port) }
  if authorization then lines[#lines + 1] = "Proxy-Authorization: " .. authorization end
  local sent, problem = self.sock:send(concat(lines, "\r\n") .. "\r\n\r\n")
  if not sent then return nil, problem end
  local response, err = bodies.read_head(self.sock)
  if not response then return nil, err end
  if response.status < 200 or response.status > 299 then
    return nil, "failed to establish a tunnel through a proxy: " .. response.status
  end
  return true
end

local function secure(self, options)
  local sock, problem = self.sock, nil
  if options.ssl_client_cert then
    local ok
    ok, problem = sock:setclientcert(options.ssl_client_cert, options.ssl_client_priv_key)
    if not ok then return nil, problem end
  end
  local name = options.ssl_server_name or options.host
  local verify = options.ssl_verify
  if verify == nil then verify = true end
  local session
  session, problem = sock:sslhandshake(options.ssl_reused_session, name, verify)
  if not session then return nil, problem end
  self.ssl = true
  return true, session
end

-- A pool's name: connections of different kinds are never mixed up.
local function pool_of(options, proxy)
  return concat({ options.scheme or "http", options.host, tostring(options.port),
                  tostring(options.ssl_server_name), tostring(options.ssl_verify),
                  tostring(proxy), options.ssl_client_cert and tostring(options.ssl_client_cert)
                  or "" }, ":")
end

local function connect_by(self, options)
  local scheme, unix = options.scheme, find(options.host, "^unix:")
  local port = options.port or (not unix and (scheme == "https" and 443 or 80)) or nil
  options.port = port
  local proxy = not unix and proxy_of(self, scheme)
  local pool = { pool = options.pool or pool_of(options, proxy), pool_size = options.pool_size,
                 backlog = options.backlog }
  local target, target_port = options.host, port
  if proxy then
    local parsed, problem = http.parse_uri(nil, proxy)
    if not parsed then return nil, problem end
    target, target_port = parsed[2], parsed[3]
  end
  local ok, problem
  if unix then
    ok, problem = self.sock:connect(target, pool)
  else
    ok, problem = self.sock:connect(target, target_port, pool)
  end
  if not ok then return nil, problem end
  self.host, self.port, self.http_proxy_auth = options.host, port, nil
  local fresh = self.sock:getreusedtimes() == 0
  if proxy and scheme ~= "https" then
    self.path_prefix = "http://" .. options.host .. (port == 80 and "" or ":" .. port)
    self.http_proxy_auth = self.proxy_opts.http_proxy_authorization
  elseif proxy and fresh then
    ok, problem = tunnel(self, options.host, port, self.proxy_opts.https_proxy_authorization)
    if not ok then return nil, problem end
  end
  if scheme ~= "https" then return true, nil, nil end
  local session
  ok, session = secure(self, options)
  if not ok then return nil, session end
  return true, nil, session
end

-- Connects: a table (scheme, host, port, pool, ssl_*), or host, port and options.
function http:connect(options, port, more)
  self.keepalive_supported, self.ssl, self.path_prefix = true, nil, nil
  if type(options) == "table" then return connect_by(self, options) end
  self.host, self.port = options, type(port) == "number" and port or nil
  if type(port) == "table" or port == nil then return self.sock:connect(options, port) end
  return self.sock:connect(options, port, more)
end

local function default_host(self)
  local host = self.host
  if not host or find(host, "^unix:") then return nil end
  if find(host, ":", 1, true) and not find(host, "^%[") then host = "[" .. host .. "]" end
  local usual = self.ssl and 443 or 80
  return self.port and self.port ~= usual and host .. ":" .. self.port or host
end

local NO_BODY = { GET = true, HEAD = true, OPTIONS = true, DELETE = true, TRACE = true,
                  CONNECT = true }

-- The headers of a request with those that go without saying.
local function complete(self, params)
  local headers = headers_of.new()
  for name, value in pairs(params.headers or {}) do headers[name] = value end
  local body = params.body
  if not headers["Host"] then headers["Host"] = default_host(self) end
  if not headers["User-Agent"] then headers["User-Agent"] = http._USER_AGENT end
  if self.http_proxy_auth then headers["Proxy-Authorization"] = self.http_proxy_auth end
  local framed = headers["Content-Length"] or headers["Transfer-Encoding"]
  if type(body) == "string" and not framed then
    headers["Content-Length"] = #body
  elseif type(body) == "table" and not framed then
    local length = 0
    for _, part in ipairs(body) do length = length + #tostring(part) end
    headers["Content-Length"] = length
  elseif type(body) == "function" and not framed then
    return nil, "Request body is a function but a length or chunked encoding is not specified"
  elseif body == nil and not framed and not NO_BODY[upper(params.method or "GET")] then
    headers["Content-Length"] = 0
  end
  if params.version == 1.0 and not headers["Connection"] then
    headers["Connection"] = "Keep-Alive"
  end
  return headers
end

local function query_of(query)
  if type(query) == "table" then query = ngx.encode_args(query) end
  if query == nil or query == "" then return "" end
  return find(query, "^%?") and query or "?" .. query
end

local function unsafe(text) return find(text, "[%z\r\n]") end

local function head(self, params, headers)
  local path = (self.path_prefix or "") .. (params.path or "/") .. query_of(params.query)
  local version = params.version == 1.0 and "1.0" or "1.1"
  local lines = { format("%s %s HTTP/%s", upper(params.method or "GET"), path, version) }
  if unsafe(lines[1]) then return nil, "invalid characters found in the request line" end
  for name, value in pairs(headers) do
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      local line = name .. ": " .. tostring(one)
      if unsafe(line) then return nil, "invalid characters found in a header" end
      lines[#lines + 1] = line
    end
  end
  return concat(lines, "\r\n") .. "\r\n\r\n"
end

-- Sends a request: true; nil and what is wrong.
function http:send_request(params)
  local headers, problem = complete(self, params)
  if not headers then return nil, problem end
  local text
  text, problem = head(self, params, headers)
  if not text then return nil, problem end
  local sent
  sent, problem = self.sock:send(text)
  if not sent then return nil, problem end
  -- With "Expect: 100-continue" the server is asked first.
  if params.body and lower(tostring(headers["Expect"] or "")) ~= "100-continue" then
    return bodies.send(self.sock, params.body, headers["Transfer-Encoding"])
  end
  return true
end

local function keeps_alive(response)
  local connection = lower(tostring(response.headers["Connection"] or ""))
  if response.version == 1.1 then return not find(connection, "close", 1, true) end
  return find(connection, "keep-alive", 1, true) ~= nil
end

-- Reads the answer to a request: its head; the body is read by `body_reader` or `read_body`.
function http:read_response(params)
  local sock = self.sock
  local response, problem = bodies.read_head(sock)
  while response and response.status >= 100 and response.status < 200 and response.status ~= 101 do
    if response.status == 100 and params.body and params.headers
       and lower(tostring(params.headers["Expect"] or "")) == "100-continue" then
      local sent, err = bodies.send(sock, params.body, params.headers["Transfer-Encoding"])
      if not sent then return nil, err end
    end
    response, problem = bodies.read_head(sock)
  end
  if not response then return nil, problem end
  self.keepalive_supported = keeps_alive(response)
  bodies.attach(response, sock, upper(params.method or "GET"), self)
  return response
end

-- One request and its answer's head.
function http:request(params)
  local sent, problem = self:send_request(params)
  if not sent then return nil, problem end
  return self:read_response(params)
end

-- Several requests at once; each answer is read when its turn comes.
function http:request_pipeline(requests)
  for _, params in ipairs(requests) do
    local sent, problem = self:send_request(params)
    if not sent then return nil, problem end
  end
  local responses = {}
  for i, params in ipairs(requests) do
    responses[i] = setmetatable({}, {
      __index = function(t, key)
        setmetatable(t, nil)
        local response, problem = self:read_response(params)
        if not response then
          ngx.log(ngx.ERR, problem)
          return nil
        end
        for name, value in pairs(response) do t[name] = value end
        setmetatable(t, getmetatable(response))
        return t[key]
      end,
    })
  end
  return responses
end

-- Connects, asks, reads the whole answer, and keeps the connection (`keepalive = false`: doesn't).
function http:request_uri(uri, params)
  params = params or {}
  local copy = {}
  for key, value in pairs(params) do copy[key] = value end
  local parsed, problem = http.parse_uri(self, uri, false)
  if not parsed then return nil, problem end
  copy.scheme, copy.host, copy.port = parsed[1], parsed[2], parsed[3]
  copy.path = params.path or parsed[4]
  copy.query = params.query or parsed[5]
  copy.ssl_server_name = params.ssl_server_name or parsed[2]
  if params.proxy_opts then self.proxy_opts = params.proxy_opts end
  local ok
  ok, problem = self:connect(copy)
  if not ok then return nil, problem end
  local response
  response, problem = self:request(copy)
  if not response then
    self:close()
    return nil, problem
  end
  local body
  body, problem = response:read_body()
  if not body then
    self:close()
    return nil, problem
  end
  response.body = body
  if params.keepalive == false then
    self:close()
  else
    self:set_keepalive(params.keepalive_timeout, params.keepalive_pool)
  end
  return response, nil
end

-- The body of the request that the worker serves, in one piece.
function http.get_client_body_reader()
  ngx.req.read_body()
  local body, given = ngx.req.get_body_data(), false
  if not body then return nil end
  return function()
    if given then return nil end
    given = true
    return body
  end
end

-- Passes the running request on.
function http:proxy_request()
  return self:request {
    method = ngx.req.get_method(), path = ngx.var.uri .. (ngx.var.is_args or "")
    .. (ngx.var.args or ""), body = (function()
      ngx.req.read_body()
      return ngx.req.get_body_data()
    end)(), headers = ngx.req.get_headers(0, true),
  }
end

-- Answers the running request with an answer.
function http.proxy_response(_, response)
  ngx.status = response.status
  for name, value in pairs(response.headers) do
    if not bodies.HOP_BY_HOP[lower(name)] then ngx.header[name] = value end
  end
  repeat
    local piece, problem = response.body_reader()
    if problem then
      ngx.log(ngx.ERR, problem)
      break
    end
    if piece then ngx.print(piece) end
  until not piece
end

return http
