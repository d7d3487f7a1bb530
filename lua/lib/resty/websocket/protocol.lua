-- Frames of WebSocket (RFC 6455, 5.2), in the manner of lua-resty-websocket.

local bit = require "bit"
local band, bor, bxor, rshift = bit.band, bit.bor, bit.bxor, bit.rshift
local byte, char, concat = string.byte, string.char, table.concat
local floor, random = math.floor, math.random

local protocol = { _VERSION = "0.11" }

local TYPES = { [0x0] = "continuation", [0x1] = "text", [0x2] = "binary", [0x8] = "close",
                [0x9] = "ping", [0xa] = "pong" }

local function masked(payload, a, b, c, d)
  local key, made = { a, b, c, d }, {}
  for i = 1, #payload do
    made[i] = char(bxor(byte(payload, i), key[(i - 1) % 4 + 1]))
  end
  return concat(made)
end

-- The length of a payload; nil and what is wrong.
local function payload_length(sock, length)
  if length < 126 then return length end
  local size = length == 126 and 2 or 8
  local data, problem = sock:receive(size)
  if not data then
    return nil, "failed to receive the " .. size .. " byte payload length: " .. problem
  end
  local number = 0
  for i = 1, size do number = number * 256 + byte(data, i) end
  if number >= 2 ^ 53 then return nil, "payload len too large" end
  return number
end

-- The payload of a close frame: "message", "close", code.
local function closing(payload)
  if payload == "" then return "", "close", nil end
  if #payload < 2 then return nil, nil, "close frame with a body must carry a 2-byte status code" end
  return payload:sub(3), "close", byte(payload, 1) * 256 + byte(payload, 2)
end

-- (socket, bytes that a payload may have, whether frames must be masked): payload, type, and for
-- "close" the code, for a message that goes on "again".
function protocol.recv_frame(sock, max_payload_len, force_masking)
  local head, problem = sock:receive(2)
  if not head then return nil, nil, "failed to receive the first 2 bytes: " .. problem end
  local first, second = byte(head, 1, 2)
  local fin, opcode = band(first, 0x80) ~= 0, band(first, 0x0f)
  if band(first, 0x70) ~= 0 then return nil, nil, "bad RSV1, RSV2, or RSV3 bits" end
  local kind = TYPES[opcode]
  if not kind then return nil, nil, "reserved " .. (opcode < 8 and "non-control" or "control") ..
                                    " frames" end
  local mask = band(second, 0x80) ~= 0
  if force_masking and not mask then return nil, nil, "frame unmasked" end
  local length
  length, problem = payload_length(sock, band(second, 0x7f))
  if not length then return nil, nil, problem end
  if opcode >= 8 and (length > 125 or not fin) then
    return nil, nil, length > 125 and "too long payload for control frame"
                     or "fragmented control frame"
  end
  if length > max_payload_len then return nil, nil, "exceeding max payload len" end
  local rest = length + (mask and 4 or 0)
  local data = ""
  if rest > 0 then
    data, problem = sock:receive(rest)
    if not data then
      return nil, nil, "failed to read " .. (mask and "masking-len and payload: " or "payload: ") ..
                       problem
    end
  end
  if mask then
    data = masked(data:sub(5), byte(data, 1, 4))
  end
  if opcode == 0x8 then return closing(data) end
  return data, kind, not fin and "again" or nil
end

-- A frame as text; nil and what is wrong.
function protocol.build_frame(fin, opcode, payload_len, payload, masking)
  local first = bor(fin and 0x80 or 0, opcode)
  local mark = masking and 0x80 or 0
  local head
  if payload_len <= 125 then
    head = char(first, bor(payload_len, mark))
  elseif payload_len <= 65535 then
    head = char(first, bor(126, mark), rshift(payload_len, 8), band(payload_len, 0xff))
  else
    if payload_len >= 2 ^ 53 then return nil, "payload too big" end
    local parts, rest = {}, payload_len
    for i = 8, 1, -1 do
      parts[i] = char(rest % 256)
      rest = floor(rest / 256)
    end
    head = char(first, bor(127, mark)) .. concat(parts)
  end
  if not masking then return head .. payload end
  local key = random(0, 0x7fffffff)
  local a, b, c, d = band(rshift(key, 24), 0xff), band(rshift(key, 16), 0xff),
                     band(rshift(key, 8), 0xff), band(key, 0xff)
  return head .. char(a, b, c, d) .. masked(payload, a, b, c, d)
end

-- Sends a frame; the bytes sent, or nil and what is wrong.
function protocol.send_frame(sock, fin, opcode, payload, max_payload_len, masking)
  payload = payload and tostring(payload) or ""
  local length = #payload
  if length > max_payload_len then return nil, "payload too big" end
  if band(opcode, 0x8) ~= 0 then
    if length > 125 then return nil, "too much payload for control frame" end
    if not fin then return nil, "fragmented control frame" end
  end
  local frame, problem = protocol.build_frame(fin, opcode, length, payload, masking)
  if not frame then return nil, "failed to build frame: " .. problem end
  local bytes
  bytes, problem = sock:send(frame)
  if not bytes then return nil, "failed to send frame: " .. problem end
  return bytes
end

return protocol
