-- Public keys of JSON Web Keys (RFC 7517) in DER.

local cjson = require "cjson.safe"
local base64 = require "ngx.base64"

local byte, char = string.byte, string.char

local jwk = {}

local function length(size)
  if size < 128 then return char(size) end
  if size < 256 then return char(0x81, size) end
  return char(0x82, math.floor(size / 256), size % 256)
end
local function tagged(tag, body) return char(tag) .. length(#body) .. body end
local function integer(bytes)
  if byte(bytes) >= 128 then bytes = "\0" .. bytes end
  return tagged(2, bytes)
end

local RSA = "\48\13\6\9\42\134\72\134\247\13\1\1\1\5\0"
local EC = "\6\7\42\134\72\206\61\2\1"
local CURVES = { ["P-256"] = "\6\8\42\134\72\206\61\3\1\7", ["P-384"] = "\6\5\43\129\4\0\34",
                 ["P-521"] = "\6\5\43\129\4\0\35" }
local EDWARDS = { Ed25519 = "\48\5\6\3\43\101\112", Ed448 = "\48\5\6\3\43\101\113" }

local function key_info(algorithm, key) return tagged(48, algorithm .. tagged(3, "\0" .. key)) end

-- The public part; nil and what is wrong.
function jwk.to_der(text)
  local key, problem = cjson.decode(text)
  if type(key) ~= "table" then return nil, "JWK: " .. tostring(problem) end
  local function part(name)
    return type(key[name]) == "string" and base64.decode_base64url(key[name]) or nil
  end
  if key.kty == "RSA" and part "n" and part "e" then
    return key_info(RSA, tagged(48, integer(part "n") .. integer(part "e")))
  elseif key.kty == "EC" and CURVES[key.crv] and part "x" and part "y" then
    return key_info(tagged(48, EC .. CURVES[key.crv]), "\4" .. part "x" .. part "y")
  elseif key.kty == "OKP" and EDWARDS[key.crv] and part "x" then
    return key_info(EDWARDS[key.crv], part "x")
  end
  return nil, "not a supported JWK"
end

return jwk
