-- A client of Redis over cosockets, in the manner of lua-resty-redis.

local byte, sub, type, tostring, tonumber = string.byte, string.sub, type, tostring, tonumber
local pairs, ipairs, select, setmetatable = pairs, ipairs, select, setmetatable
local concat = table.concat

local redis = { _VERSION = "0.31" }

local DOLLAR, STAR, COLON, PLUS, MINUS = 36, 42, 58, 43, 45
local UNDERSCORE, HASH, PERCENT, TILDE, COMMA = 95, 35, 37, 126, 44

function redis.new()
  local sock, problem = ngx.socket.tcp()
  if not sock then return nil, problem end
  return setmetatable({ _sock = sock, _subscribed = false, _n_channel = 0 }, redis)
end

function redis.register_module_prefix(module)
  redis[module] = function(self)
    self._module_prefix = module
    return self
  end
end

-- What the socket's methods are called through.
local function delegate(name)
  redis[name] = function(self, ...)
    local sock = rawget(self, "_sock")
    if not sock then return nil, "not initialized" end
    return sock[name](sock, ...)
  end
end
delegate "getreusedtimes"
redis.get_reused_times = redis.getreusedtimes

function redis:set_timeout(timeout) return self._sock:settimeout(timeout) end
function redis:set_timeouts(...) return self._sock:settimeouts(...) end

-- To a host and a port or to "unix:PATH"; options are those of the socket, `ssl`, `ssl_verify`
-- and `server_name` besides.
function redis:connect(host, port_or_opts, opts)
  local sock = rawget(self, "_sock")
  if not sock then return nil, "not initialized" end
  self._subscribed = false
  local unix = host:sub(1, 5) == "unix:"
  local options = unix and port_or_opts or opts
  if type(options) ~= "table" then options = nil end
  local ok, problem
  if unix then
    ok, problem = sock:connect(host, options)
  else
    ok, problem = sock:connect(host, port_or_opts, options)
  end
  if not ok then return ok, problem end
  if options and options.ssl then
    ok, problem = sock:sslhandshake(false, options.server_name, options.ssl_verify)
    if not ok then return ok, "failed to do ssl handshake: " .. tostring(problem) end
  end
  return 1
end

function redis:set_keepalive(...)
  if self._subscribed then return nil, "subscribed state" end
  return self._sock:setkeepalive(...)
end

function redis:close()
  self._subscribed = false
  return self._sock:close()
end

local read_reply

local function read_items(self, sock, count)
  local items = {}
  for i = 1, count do
    local item, problem = read_reply(self, sock)
    if item == nil then return nil, problem end
    items[i] = problem and item == false and { false, problem } or item
  end
  return items
end

local function read_bulk(sock, size)
  if size < 0 then return ngx.null end
  local data, problem = sock:receive(size)
  if not data then
    if problem == "timeout" then sock:close() end
    return nil, problem
  end
  local _, bad = sock:receive(2)
  if bad then return nil, bad end
  return data
end

-- The next reply: nil and a text if the connection failed, false and a text for an error reply.
function read_reply(self, sock)
  local line, problem = sock:receive()
  if not line then
    if problem == "timeout" and not rawget(self, "_subscribed") then sock:close() end
    return nil, problem
  end
  local prefix, rest = byte(line), sub(line, 2)
  if prefix == DOLLAR then return read_bulk(sock, tonumber(rest)) end
  if prefix == PLUS then return rest end
  if prefix == STAR or prefix == TILDE then
    local count = tonumber(rest)
    if count < 0 then return ngx.null end
    return read_items(self, sock, count)
  end
  if prefix == PERCENT then return read_items(self, sock, tonumber(rest) * 2) end
  if prefix == COLON or prefix == COMMA then return tonumber(rest) end
  if prefix == MINUS then return false, rest end
  if prefix == UNDERSCORE then return ngx.null end
  if prefix == HASH then return rest == "t" end
  return nil, 'unknown prefix: "' .. tostring(prefix) .. '"'
end

local function request(...)
  local count = select("#", ...)
  local parts = { "*" .. count .. "\r\n" }
  for i = 1, count do
    local text = tostring((select(i, ...)))
    parts[#parts + 1] = "$" .. #text .. "\r\n" .. text .. "\r\n"
  end
  return concat(parts)
end

local function subscribed_only(name)
  return name == "subscribe" or name == "psubscribe" or name == "unsubscribe"
         or name == "punsubscribe" or name == "ping" or name == "quit"
end

local function track_channels(self, name, reply)
  if name == "subscribe" or name == "psubscribe" then
    self._subscribed = true
  elseif (name == "unsubscribe" or name == "punsubscribe") and type(reply) == "table"
         and reply[3] == 0 then
    self._subscribed = false
  end
end

local function command(self, name, ...)
  local sock = rawget(self, "_sock")
  if not sock then return nil, "not initialized" end
  if rawget(self, "_subscribed") and not subscribed_only(name) then
    return nil, "subscribed state"
  end
  local text
  local module = rawget(self, "_module_prefix")
  if module then
    self._module_prefix = nil
    text = request(module .. "." .. name, ...)
  else
    text = request(name, ...)
  end
  local pipeline = rawget(self, "_reqs")
  if pipeline then
    pipeline[#pipeline + 1] = text
    return
  end
  local sent, problem = sock:send(text)
  if not sent then return nil, problem end
  local reply, err = read_reply(self, sock)
  track_channels(self, name, reply)
  return reply, err
end

-- The next message of a channel.
function redis:read_reply()
  if not rawget(self, "_subscribed") then return nil, "not subscribed" end
  return read_reply(self, self._sock)
end

function redis:init_pipeline() self._reqs = {} end
function redis:cancel_pipeline() self._reqs = nil end

-- Sends what waits and reads all replies.
function redis:commit_pipeline()
  local reqs = rawget(self, "_reqs")
  if not reqs then return nil, "no pipeline" end
  self._reqs = nil
  local sent, problem = self._sock:send(reqs)
  if not sent then return nil, problem end
  local replies = {}
  for i = 1, #reqs do
    local reply, err = read_reply(self, self._sock)
    if reply == nil then
      if err == "timeout" then self:close() end
      return nil, err
    end
    replies[i] = reply == false and { false, err } or reply
  end
  return replies
end

function redis:array_to_hash(list)
  local hash = {}
  for i = 1, #list, 2 do hash[list[i]] = list[i + 1] end
  return hash
end

-- HMSET takes a table too.
function redis:hmset(key, ...)
  if select("#", ...) ~= 1 then return command(self, "hmset", key, ...) end
  local pairs_list = {}
  for name, value in pairs((...)) do
    pairs_list[#pairs_list + 1], pairs_list[#pairs_list + 2] = name, value
  end
  return command(self, "hmset", key, unpack(pairs_list))
end

function redis.add_commands(...)
  for _, name in ipairs { ... } do
    redis[name] = function(self, ...) return command(self, name, ...) end
  end
end

-- Every other method is the command of that name.
function redis.__index(_, name)
  local known = rawget(redis, name)
  if known ~= nil then return known end
  if type(name) ~= "string" or sub(name, 1, 1) == "_" then return nil end
  local method = function(self, ...) return command(self, name, ...) end
  redis[name] = method
  return method
end

return setmetatable(redis, { __index = nil })
