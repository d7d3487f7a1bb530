-- A client of WebSocket over cosockets, in the manner of lua-resty-websocket.

local protocol = require "resty.websocket.protocol"
local ngx = ngx
local char, concat, match, random = string.char, table.concat, string.match, math.random
local setmetatable, tonumber, type = setmetatable, tonumber, type

local client = { _VERSION = "0.11" }
local METATABLE = { __index = client }
local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

-- (max_payload_len, max_send_len, max_recv_len, send_unmasked, timeout)
function client.new(_, options)
  local sock, problem = ngx.socket.tcp()
  if not sock then return nil, problem end
  options = options or {}
  if options.timeout then sock:settimeout(options.timeout) end
  local most = options.max_payload_len or 65535
  return setmetatable({ sock = sock, max_recv_len = options.max_recv_len or most,
                        max_send_len = options.max_send_len or most,
                        send_unmasked = options.send_unmasked }, METATABLE)
end

-- What a URI says: scheme, host, port, path; nil and what is wrong.
local function parts(uri)
  local scheme, rest = match(uri, "^(wss?)://(.+)$")
  if not scheme then return nil, "bad websocket uri: " .. uri end
  local place, path = match(rest, "^([^/?]+)(.*)$")
  if not place then return nil, "bad websocket uri: " .. uri end
  local host, port = match(place, "^(%[.-%]):?(%d*)$")
  if not host then host, port = match(place, "^([^:]+):?(%d*)$") end
  if not host then return nil, "bad websocket uri: " .. uri end
  if path:sub(1, 1) ~= "/" then path = "/" .. path end
  return scheme, host, tonumber(port) or (scheme == "wss" and 443 or 80), path, place
end

local function lines(name, value)
  if type(value) == "table" then value = concat(value, ",") end
  return value and name .. ": " .. value .. "\r\n" or ""
end

local function request(path, place, key, options)
  local headers = {}
  for _, line in ipairs(options.headers or {}) do headers[#headers + 1] = line .. "\r\n" end
  return concat {
    "GET ", path, " HTTP/1.1\r\nUpgrade: websocket\r\nHost: ", options.host or place,
    "\r\nSec-WebSocket-Key: ", key, "\r\n", lines("Sec-WebSocket-Protocol", options.protocols),
    "Sec-WebSocket-Version: 13\r\n", lines("Origin", options.origin),
    "Connection: Upgrade\r\n", concat(headers), "\r\n",
  }
end

local function new_key()
  local bytes = {}
  for i = 1, 16 do bytes[i] = char(random(0, 255)) end
  return ngx.encode_base64(concat(bytes))
end

-- Connected, with TLS where the scheme says so.
local function reach(self, scheme, host, port, options)
  local sock = self.sock
  local pool = options.pool
  local ok, problem = sock:connect(host:match("^%[(.*)%]$") or host, port,
                                   { pool = pool, pool_size = options.pool_size,
                                     backlog = options.backlog })
  if not ok then return nil, "failed to connect: " .. problem end
  if scheme ~= "wss" then return 1 end
  if options.client_cert then
    if not options.client_priv_key then
      return nil, "client_priv_key must be provided with client_cert"
    end
    ok, problem = sock:setclientcert(options.client_cert, options.client_priv_key)
    if not ok then return nil, "failed to set TLS client certificate: " .. problem end
  end
  ok, problem = sock:sslhandshake(false, options.server_name or host, options.ssl_verify)
  if not ok then return nil, "ssl handshake failed: " .. problem end
  return 1
end

-- Connects and shakes hands; 1 and nil and the head of the answer, or nil and what is wrong.
function client:connect(uri, options)
  if not self.sock then return nil, "not initialized" end
  options = options or {}
  local scheme, host, port, path, place = parts(uri)
  if not scheme then return nil, host end
  local ok, problem = reach(self, scheme, host, port, options)
  if not ok then return nil, problem end
  if self.sock:getreusedtimes() > 0 then return 1, nil, "connection reused" end
  local key = options.key or new_key()
  ok, problem = self.sock:send(request(path, place, key, options))
  if not ok then return nil, "failed to send the handshake request: " .. problem end
  local read = self.sock:receiveuntil("\r\n\r\n")
  local head
  head, problem = read()
  if not head then return nil, "failed to receive response header: " .. problem end
  local status = match(head, "^HTTP/1%.1 (%d%d%d)")
  if not status then return nil, "bad HTTP response status line: " .. head:match("^[^\r]*") end
  if status ~= "101" then return nil, "unexpected HTTP response code: " .. status, head end
  local accept = match(head:gsub("\r\n[%w%-]+:", string.lower),
                       "\r\nsec%-websocket%-accept:%s*(%S+)")
  if accept ~= ngx.encode_base64(ngx.sha1_bin(key .. GUID)) then
    return nil, "bad Sec-WebSocket-Accept", head
  end
  return 1, nil, head
end

function client:set_timeout(time) return self.sock:settimeout(time) end
client.set_timeouts = function(self, ...) return self.sock:settimeouts(...) end

-- Payload, type, and more; see resty.websocket.protocol.
function client:recv_frame()
  if self.fatal then return nil, nil, "fatal error already happened" end
  local data, kind, problem = protocol.recv_frame(self.sock, self.max_recv_len, false)
  if not data and not kind and not problem:find(": timeout", 1, true) then self.fatal = true end
  return data, kind, problem
end

function client:send_frame(fin, opcode, payload)
  if self.fatal then return nil, "fatal error already happened" end
  if self.closed then return nil, "already closed" end
  local bytes, problem = protocol.send_frame(self.sock, fin, opcode, payload, self.max_send_len,
                                             not self.send_unmasked)
  if not bytes then self.fatal = true end
  return bytes, problem
end

function client:send_text(text) return self:send_frame(true, 0x1, text) end
function client:send_binary(data) return self:send_frame(true, 0x2, data) end
function client:send_ping(data) return self:send_frame(true, 0x9, data) end
function client:send_pong(data) return self:send_frame(true, 0xa, data) end

function client:send_close(code, message)
  local payload
  if code then
    if type(code) ~= "number" or code > 0x7fff then return nil, "bad status code" end
    payload = char(math.floor(code / 256), code % 256) .. (message or "")
  end
  local bytes, problem = self:send_frame(true, 0x8, payload)
  self.closed = true
  return bytes, problem
end

function client:set_keepalive(...) return self.sock:setkeepalive(...) end

function client:close()
  if self.fatal then return nil, "fatal error already happened" end
  if not self.closed then self:send_close() end
  return self.sock:close()
end

return client
