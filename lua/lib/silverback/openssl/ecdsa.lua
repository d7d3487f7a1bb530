-- Signatures of ECDSA: two numbers side by side (as JWT has them), or in ASN.1's DER.

local byte, char, sub, rep, match = string.byte, string.char, string.sub, string.rep, string.match

local ecdsa = {}

local function length(size)
  if size < 128 then return char(size) end
  return char(0x81, size)
end

local function integer(bytes)
  bytes = match(bytes, "^%z*(.*)$")
  if bytes == "" or byte(bytes) >= 128 then bytes = "\0" .. bytes end
  return "\2" .. length(#bytes) .. bytes
end

-- DER of the numbers side by side.
function ecdsa.to_der(raw)
  local half = #raw / 2
  local body = integer(sub(raw, 1, half)) .. integer(sub(raw, half + 1))
  return "\48" .. length(#body) .. body
end

-- The numbers side by side, each of so many bytes.
function ecdsa.to_raw(der, size)
  local at = byte(der, 2) >= 128 and 4 or 3
  local raw = ""
  for _ = 1, 2 do
    local bytes = byte(der, at + 1)
    local number = match(sub(der, at + 2, at + 1 + bytes), "^%z*(.*)$")
    raw = raw .. rep("\0", size - #number) .. number
    at = at + 2 + bytes
  end
  return raw
end

return ecdsa
