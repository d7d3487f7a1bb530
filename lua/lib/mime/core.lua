-- The encodings of mail, piece by piece, in the manner of LuaSocket's mime.core: a function takes
-- what was left of the piece before, the new piece, and gives what is done and what is left. Without
-- a new piece it ends with what is left.

local ngx = ngx
local byte, char, format, gsub, sub = string.byte, string.char, string.format, string.gsub,
                                      string.sub
local concat, tonumber = table.concat, tonumber

local core = { _VERSION = "MIME 1.0.3" }

-- (left, piece) in groups of `size`; without a piece the rest goes as well.
local function by_groups(left, piece, size, make)
  if left == nil then return nil, nil end
  if piece == nil then
    local made = make(left)
    return made ~= "" and made or nil, nil
  end
  local all = left .. piece
  local whole = #all - #all % size
  return make(sub(all, 1, whole)), sub(all, whole + 1)
end

function core.b64(left, piece)
  return by_groups(left, piece, 3, ngx.encode_base64)
end

function core.unb64(left, piece)
  local function clean(text) return text and gsub(text, "[^%w+/=]", "") end
  return by_groups(clean(left), clean(piece), 4, function(text)
    return ngx.decode_base64(text) or ""
  end)
end

local function escaped(letter) return format("=%02X", byte(letter)) end

-- Spaces before the end of a line are escaped too.
local function quoted(text, marker)
  text = gsub(text, "=", "=3D")
  local lines, at = {}, 1
  while true do
    local from, to = text:find("\r\n", at, true)
    local line = gsub(sub(text, at, (from or #text + 1) - 1), "[^%g \t]", escaped)
    lines[#lines + 1] = gsub(line, "[ \t]$", escaped)
    if not from then return concat(lines, marker) end
    at = to + 1
  end
end

-- Quoted-printable; `marker` stands for the end of a line.
function core.qp(left, piece, marker)
  if left == nil then return nil, nil end
  marker = marker or "\r\n"
  local all = left .. (piece or "")
  if piece == nil then
    local made = quoted(all, marker)
    return made ~= "" and made or nil, nil
  end
  -- What may belong to an end of line, or stand before one, waits.
  local kept = all:match("[ \t]?\r?$")
  return quoted(sub(all, 1, #all - #kept), marker), kept
end

function core.unqp(left, piece)
  if left == nil then return nil, nil end
  local function decoded(text)
    text = gsub(text, "[ \t]*\r?\n", "\r\n")
    text = gsub(text, "=\r\n", "")
    return (gsub(text, "=(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
  end
  if piece == nil then
    local made = decoded(left)
    return made ~= "" and made or nil, nil
  end
  local all = left .. piece
  local kept = all:match("=%x?$") or all:match("=?[ \t]*\r?$")
  return decoded(sub(all, 1, #all - #kept)), kept
end

-- A function that breaks lines after `length` characters, with `mark` before each break; `left` is the
-- room in the line. A character needs that much room, one that begins an escape, which stays whole, more.
local function breaker(mark, room, escape_room)
  local line_end = mark .. "\r\n"
  return function(left, piece, length)
    length = length or 76
    if piece == nil then
      if left < length then return line_end, length end
      return nil, length
    end
    local made = {}
    for letter in piece:gmatch(".") do
      if letter == "\n" then
        made[#made + 1], left = "\r\n", length
      elseif letter ~= "\r" then
        local needs = letter == "=" and escape_room or room
        if left < needs then made[#made + 1], left = line_end, length end
        made[#made + 1], left = letter, left - 1
      end
    end
    return concat(made), left
  end
end

core.wrp = breaker("", 1, 1)
-- For quoted-printable: breaks are soft ones, whose mark needs room as well.
core.qpwrp = breaker("=", 2, 4)

-- Ends of lines as `marker` has them. The context is the code of a carriage return or line feed
-- that ended the piece before, or 0.
function core.eol(context, piece, marker)
  if piece == nil then return nil, 0 end
  marker = marker or "\r\n"
  local made = {}
  local last = context
  for letter in piece:gmatch(".") do
    local code = byte(letter)
    if code == 13 or code == 10 then
      if (last == 13 or last == 10) and last ~= code then
        last = 0
      else
        made[#made + 1], last = marker, code
      end
    else
      made[#made + 1], last = letter, 0
    end
  end
  return concat(made), last
end

-- Doubles the dots that begin lines (RFC 5321). The context counts of "\r\n" what ended the piece
-- before: 0, 1, 2.
function core.dot(context, piece)
  if piece == nil then return nil, 2 end
  local made = {}
  for letter in piece:gmatch(".") do
    if letter == "." and context == 2 then
      made[#made + 1] = ".."
    else
      made[#made + 1] = letter
    end
    if letter == "\r" then
      context = 1
    elseif letter == "\n" and context == 1 then
      context = 2
    else
      context = 0
    end
  end
  return concat(made), context
end

return core
