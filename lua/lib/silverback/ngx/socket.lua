-- `ngx.socket`: objects around native sockets.

local native = require("silverback.native").socket
local check = require("silverback.native").check_waiting

local type, tostring, setmetatable, concat = type, tostring, setmetatable, table.concat
local error = error

local tcp = {}
local TCP = { __index = tcp }
local udp = {}
local UDP = { __index = udp }

-- Texts, numbers and the like, and lists of them, as one text.
local function flatten(value, into)
  local kind = type(value)
  if kind == "string" then
    into[#into + 1] = value
  elseif kind == "table" then
    for i = 1, #value do flatten(value[i], into) end
  elseif kind == "number" or kind == "boolean" or kind == "nil" then
    into[#into + 1] = tostring(value)
  else
    error("bad argument #1 to 'send' (string, number, boolean, nil, or array table expected, got "
          .. kind .. ")", 3)
  end
  return into
end

local function text(value)
  if type(value) == "string" then return value end
  return concat(flatten(value, {}))
end

-- (host, port, options) or ("unix:PATH", options)
function tcp:connect(host, port, options)
  if type(port) == "table" then options, port = port, nil end
  if type(host) ~= "string" then
    error("bad argument #1 to 'connect' (string expected, got " .. type(host) .. ")", 2)
  end
  check()
  options = options or {}
  self.closed = nil
  return native.connect(self[1], host, tonumber(port), options.pool, options.pool_size)
end

-- (session, server name, verify): true, or where the session is not false something to hand in
-- again; sessions are kept by nobody.
function tcp:sslhandshake(session, server_name, verify)
  local ok, problem = native.handshake(self[1], server_name, verify or false, self.cert, self.key)
  if not ok then return nil, problem end
  if session == false then return true end
  return self
end

-- The client's certificate and key: as PEM, or as ngx.ssl has parsed them.
function tcp:setclientcert(cert, key)
  if not cert and not key then
    self.cert, self.key = nil, nil
    return 1
  end
  if not cert or not key then
    return nil, "client certificate must be supplied with corresponding private key"
  end
  local function pem(value) return type(value) == "table" and value.pem or value end
  self.cert, self.key = pem(cert), pem(key)
  return 1
end

function tcp:send(data) return native.send(self[1], text(data)) end
function tcp:receive(pattern) return native.receive(self[1], pattern) end
function tcp:receiveany(max) return native.receive_any(self[1], max) end

-- A function that reads up to a text; with sizes, piece by piece, and nil once the text has come.
function tcp:receiveuntil(pattern, options)
  local socket, inclusive = self[1], options and options.inclusive or false
  local ended
  return function(size)
    if not size then
      ended = nil
      return native.receive_until(socket, pattern, inclusive, nil)
    end
    if ended then
      ended = nil
      return nil, nil, nil
    end
    local data, problem, partial = native.receive_until(socket, pattern, inclusive, size)
    if data == "" then return nil, nil, nil end
    if data and inclusive and data:sub(-#pattern) == pattern then ended = true end
    return data, problem, partial
  end
end

function tcp:settimeout(ms) native.timeouts(self[1], ms, ms, ms) end
function tcp:settimeouts(connect, send, read) native.timeouts(self[1], connect, send, read) end

function tcp:setkeepalive(timeout, size) return native.keep(self[1], timeout, size) end
function tcp:getreusedtimes() return native.reused(self[1]) end
function tcp:close() return native.close(self[1]) end

-- Options that change nothing here.
function tcp:setoption() return 1 end
function tcp:getoption() return nil, "not supported" end

function udp:setpeername(host, port)
  check()
  return native.udp_connect(self[1], host, tonumber(port))
end
function udp:send(data) return native.udp_send(self[1], text(data)) end
function udp:receive(size) return native.udp_receive(self[1], size) end
function udp:close() return native.udp_close(self[1]) end
function udp:settimeout(ms) native.udp_timeout(self[1], ms) end

local socket = {}

function socket.tcp()
  check()
  return setmetatable({ native.tcp() }, TCP)
end
socket.stream = socket.tcp

function socket.udp()
  check()
  return setmetatable({ native.udp() }, UDP)
end

-- A connected socket.
function socket.connect(...)
  local made = socket.tcp()
  local ok, problem = made:connect(...)
  if not ok then return nil, problem end
  return made
end

ngx.socket = socket
