-- The parts of messages that `resty.http` reads and writes.

local headers_of = require "resty.http_headers"

local type, tonumber, tostring, setmetatable = type, tonumber, tostring, setmetatable
local match, find, lower, format, min = string.match, string.find, string.lower, string.format,
                                       math.min
local concat = table.concat

local PIECE = 65536

local bodies = { HOP_BY_HOP = { connection = true, ["keep-alive"] = true, te = true,
                                ["proxy-authenticate"] = true, ["proxy-authorization"] = true,
                                trailers = true, ["transfer-encoding"] = true, upgrade = true,
                                ["content-length"] = true } }

local function chunk(text) return format("%x\r\n", #text) .. text .. "\r\n" end

-- Sends a body: a text, a list of texts, or a function that gives pieces.
function bodies.send(sock, body, encoding)
  if type(body) ~= "function" then
    local sent, problem = sock:send(body)
    if not sent then return nil, problem end
    return true
  end
  local chunked = encoding and find(lower(tostring(encoding)), "chunked", 1, true)
  repeat
    local piece, wrong = body()
    if wrong then return nil, wrong end
    if piece and piece ~= "" then
      local sent, problem = sock:send(chunked and chunk(piece) or piece)
      if not sent then return nil, problem end
    end
  until not piece
  return true
end

local function read_headers(sock)
  local headers = headers_of.new()
  while true do
    local line, problem = sock:receive "*l"
    if not line then return nil, problem end
    if line == "" then return headers end
    local name, value = match(line, "^([^:%s]+):%s*(.-)%s*$")
    if name then
      local there = headers[name]
      if there == nil then
        headers[name] = value
      elseif type(there) == "table" then
        there[#there + 1] = value
      else
        headers[name] = { there, value }
      end
    end
  end
end

-- The status and the headers of an answer; nil and what is wrong.
function bodies.read_head(sock)
  local line, problem = sock:receive "*l"
  if not line then return nil, problem end
  local version, status, reason = match(line, "^HTTP/(%d%.%d)%s+(%d%d%d)%s*(.*)$")
  if not version then
    return nil, "couldn't parse HTTP version from response status line: " .. line
  end
  local headers
  headers, problem = read_headers(sock)
  if not headers then return nil, problem end
  return { status = tonumber(status), version = tonumber(version), reason = reason,
           headers = headers }
end

-- Reads so many bytes, at most `max` at once.
local function sized(sock, length)
  local left = length
  return function(max)
    if left <= 0 then return nil end
    local size = min(left, max or left)
    local data, problem = sock:receive(size)
    if not data then return nil, problem end
    left = left - #data
    return data
  end
end

-- Reads chunks; the trailers stay where they are.
local function chunked(sock)
  local left, ended = 0, false
  return function(max)
    if ended then return nil end
    if left == 0 then
      local line, problem = sock:receive "*l"
      if not line then return nil, problem end
      left = tonumber(match(line, "^%s*(%x+)"), 16)
      if not left then return nil, "unable to read chunksize" end
      if left == 0 then
        ended = true
        return nil
      end
    end
    local data, problem = sock:receive(min(left, max or left))
    if not data then return nil, problem end
    left = left - #data
    if left == 0 then
      local _, bad = sock:receive(2)
      if bad then return nil, bad end
    end
    return data
  end
end

-- Reads until the server closes.
local function to_the_end(sock, client)
  local ended = false
  return function(max)
    if ended then return nil end
    client.keepalive_supported = false
    local data, problem = sock:receiveany(max or PIECE)
    if data then return data end
    ended = true
    if problem ~= "closed" then return nil, problem end
    return nil
  end
end

local methods = {}

-- The whole body; nil, what is wrong, and the part that came.
function methods:read_body()
  if not self.has_body then return "" end
  local parts = {}
  while true do
    local piece, problem = self.body_reader()
    if problem then return nil, problem, concat(parts) end
    if not piece then break end
    parts[#parts + 1] = piece
  end
  if self.chunked then
    local trailers, problem = self:read_trailers()
    if not trailers then return nil, problem, concat(parts) end
  end
  return concat(parts)
end

-- The headers behind the body.
function methods:read_trailers()
  if not self.chunked or self.trailers then return self.trailers or {} end
  local trailers, problem = read_headers(self.sock)
  self.trailers = trailers
  return trailers, problem
end

-- Gives an answer what reads its body.
function bodies.attach(response, sock, method, client)
  local headers, status = response.headers, response.status
  local encoding = lower(tostring(headers["Transfer-Encoding"] or ""))
  local length = headers["Content-Length"]
  if type(length) == "table" then length = length[1] end
  response.has_body = method ~= "HEAD" and status ~= 204 and status ~= 304 and status >= 200
                      and not (method == "CONNECT" and status < 300)
  response.sock = sock
  if not response.has_body then
    response.body_reader = function() return nil end
  elseif find(encoding, "chunked", 1, true) then
    response.chunked = true
    local read = chunked(sock)
    response.body_reader = function(max)
      local piece, problem = read(max)
      -- A connection can only be used again without trailers in the way.
      if not piece and not problem and not response.trailers then response:read_trailers() end
      return piece, problem
    end
  elseif length then
    response.body_reader = sized(sock, tonumber(length) or 0)
  else
    response.body_reader = to_the_end(sock, client)
  end
  return setmetatable(response, { __index = methods })
end

return bodies
