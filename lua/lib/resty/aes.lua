-- AES, in the manner of lua-resty-string.
local openssl_cipher = require "resty.openssl.cipher"
local native = require "silverback.native"

local aes = { _VERSION = "0.15", hash = { md5 = "md5", sha1 = "sha1", sha224 = "sha224",
                                        sha256 = "sha256", sha384 = "sha384", sha512 = "sha512" } }
local METATABLE = { __index = aes }

-- A cipher by its size in bits (128) and mode ("cbc").
function aes.cipher(size, mode)
  size, mode = size or 128, mode or "cbc"
  local name = ("aes-%d-%s"):format(size, mode)
  if not openssl_cipher.new(name) then return nil end
  return { name = name, size = size, mode = mode }
end

-- Key and vector of a password as OpenSSL's EVP_BytesToKey makes them.
local function derive(algorithm, password, salt, rounds, key_size, iv_size)
  local all, last = "", ""
  while #all < key_size + iv_size do
    last = native.digest(algorithm, last .. password .. (salt or ""))
    for _ = 2, rounds do last = native.digest(algorithm, last) end
    all = all .. last
  end
  return all:sub(1, key_size), all:sub(key_size + 1, key_size + iv_size)
end

-- With a password (or, with `hash.iv`, a key); nil and what is wrong.
function aes.new(_, key, salt, cipher, hash, rounds)
  cipher = cipher or aes.cipher()
  if salt and #salt ~= 8 then return nil, "salt must be 8 characters or nil" end
  local bytes, iv_size = cipher.size / 8, cipher.mode == "gcm" and 12 or 16
  local iv
  if type(hash) == "table" then
    if not hash.iv or (cipher.mode ~= "gcm" and #hash.iv ~= 16) then return nil, "bad iv" end
    iv = hash.iv
    if hash.method then key = hash.method(key) end
    if #key ~= bytes then return nil, "bad key length" end
  else
    key, iv = derive(hash or "md5", key, salt, rounds or 1, bytes, iv_size)
  end
  return setmetatable({ key = key, iv = iv, name = cipher.name, gcm = cipher.mode == "gcm" },
                      METATABLE)
end

-- The bytes; for GCM the bytes and the tag, in a table.
function aes:encrypt(text)
  local cipher = openssl_cipher.new(self.name)
  local sealed, problem = cipher:encrypt(self.key, self.iv, text)
  if not sealed then return nil, problem end
  if self.gcm then return { sealed, cipher:get_aead_tag() } end
  return sealed
end

function aes:decrypt(sealed, tag)
  return openssl_cipher.new(self.name):decrypt(self.key, self.iv, sealed, nil, nil, tag)
end

return aes
