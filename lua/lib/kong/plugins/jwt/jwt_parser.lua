-- JSON Web Tokens, for plugins that build on Kong's jwt (kong/plugins/jwt/jwt_parser.lua).

local json = require "cjson.safe"
local hmac = require "resty.openssl.hmac"
local pkey = require "resty.openssl.pkey"

local ngx = ngx
local byte, concat, gsub, rep = string.byte, table.concat, string.gsub, string.rep
local assert, error, pairs, tostring, type = assert, error, pairs, tostring, type
local bxor, bor = bit.bxor, bit.bor

local PSS = 6
local RAW = { ecdsa_use_raw = true }

local function base64_encode(input)
  local text = gsub(ngx.encode_base64(input, true), "+", "-")
  return (gsub(text, "/", "_"))
end

local function base64_decode(input)
  local text = gsub(gsub(input, "-", "+"), "_", "/")
  local missing = #text % 4
  return ngx.decode_base64(missing > 0 and text .. rep("=", 4 - missing) or text)
end

-- Takes as long whatever differs.
local function same(a, b)
  if #a ~= #b then return false end
  local difference = 0
  for i = 1, #a do difference = bor(difference, bxor(byte(a, i), byte(b, i))) end
  return difference == 0
end

-- What signs and verifies, by the algorithm's name: functions of (data, key) and (data, signature,
-- key).
local algorithms = {}

local function by_secret(digest)
  local function sign(data, key) return hmac.new(key, digest):final(data) end
  return { sign = sign, verify = function(data, signature, key)
    return same(signature, sign(data, key))
  end }
end

-- (digest, padding, options of the key's, bytes that a signature must have)
local function by_key(digest, padding, options, size)
  return {
    sign = function(data, key)
      return assert(assert(pkey.new(key)):sign(data, digest, padding, options))
    end,
    verify = function(data, signature, key)
      local public = assert(pkey.new(key), "Consumer Public Key is Invalid")
      assert(not size or #signature == size, "Signature must be " .. tostring(size) .. " bytes.")
      return public:verify(signature, data, digest, padding, options)
    end,
  }
end

for bits, size in pairs { ["256"] = 64, ["384"] = 96, ["512"] = 132 } do
  local digest = "sha" .. bits
  algorithms["HS" .. bits] = by_secret(digest)
  algorithms["RS" .. bits] = by_key(digest)
  algorithms["ES" .. bits] = by_key(digest, nil, RAW, size)
  algorithms["PS" .. bits] = by_key(digest, PSS)
end
algorithms.EdDSA = by_key(nil)

local parser = {}
parser.__index = parser

local function decode(token)
  local header_64, claims_64, signature_64 = token:match("^([^.]*)%.([^.]*)%.(.*)$")
  local function part(text)
    local decoded = text and base64_decode(text)
    return decoded and json.decode(decoded)
  end
  local header, claims = part(header_64), part(claims_64)
  if type(header) ~= "table" or claims == nil then return nil, "invalid JSON" end
  if not algorithms[header.alg] then return nil, "invalid alg" end
  if type(claims) ~= "table" then return nil, "invalid claims" end
  local signature = base64_decode(signature_64)
  if not signature then return nil, "invalid signature" end
  return { token = token, header_64 = header_64, claims_64 = claims_64,
           signature_64 = signature_64, header = header, claims = claims, signature = signature }
end

-- A token that has been read; nil and what is wrong with it.
function parser:new(token)
  if type(token) ~= "string" then
    error("Token must be a string, got " .. tostring(token), 2)
  end
  local read, problem = decode(token)
  if not read then return nil, problem end
  return setmetatable(read, self)
end

-- Whether it was signed with the key. Raises where the key is none.
function parser:verify_signature(key)
  local verify = algorithms[self.header.alg].verify
  return verify(self.header_64 .. "." .. self.claims_64, self.signature, key)
end

function parser:base64_decode(input) return base64_decode(input) end

local CHECKS = {
  nbf = function(nbf) return nbf > ngx.time() and "token not valid yet" or nil end,
  exp = function(exp) return exp <= ngx.time() and "token expired" or nil end,
}

-- Whether the claims of these names are numbers that hold now; else what is wrong, by name.
function parser:verify_registered_claims(names)
  local errors
  for _, name in pairs(names or {}) do
    local claim = self.claims[name]
    local problem
    if type(claim) ~= "number" then
      problem = "must be a number"
    else
      problem = CHECKS[name](claim)
    end
    if problem then
      errors = errors or {}
      errors[name] = problem
    end
  end
  return errors == nil, errors
end

-- Whether it ends within so many seconds; 0 asks nothing.
function parser:check_maximum_expiration(most)
  if most <= 0 then return true end
  local exp = self.claims.exp
  if type(exp) ~= "number" or exp - ngx.time() > most then
    return false, { exp = "exceeds maximum allowed expiration" }
  end
  return true
end

-- (claims, key, algorithm, header): a token.
function parser.encode(claims, key, algorithm, header)
  if type(claims) ~= "table" then error("Argument #1 must be table", 2) end
  if type(key) ~= "string" then error("Argument #2 must be string", 2) end
  if header and type(header) ~= "table" then error("Argument #4 must be a table", 2) end
  algorithm = algorithm or "HS256"
  if not algorithms[algorithm] then error("Algorithm not supported", 2) end
  header = header or { typ = "JWT", alg = algorithm }
  local data = concat({ base64_encode(json.encode(header)), base64_encode(json.encode(claims)) },
                      ".")
  return data .. "." .. base64_encode(algorithms[algorithm].sign(data, key))
end

return parser
