-- Ciphers, in the manner of lua-resty-openssl.
local ffi = require "ffi"
local openssl = require "silverback.openssl"
local C = openssl.C

ffi.cdef [[
sb_ossl *sb_cipher(const char *name) asm("EVP_get_cipherbyname");
sb_ossl *sb_cipher_ctx(void) asm("EVP_CIPHER_CTX_new");
void sb_cipher_ctx_free(sb_ossl *ctx) asm("EVP_CIPHER_CTX_free");
int sb_cipher_init(sb_ossl *ctx, const sb_ossl *cipher, sb_ossl *engine, const char *key,
                   const char *iv, int enc) asm("EVP_CipherInit_ex");
int sb_cipher_update(sb_ossl *ctx, unsigned char *out, int *outl, const char *in, int inl)
  asm("EVP_CipherUpdate");
int sb_cipher_final(sb_ossl *ctx, unsigned char *out, int *outl) asm("EVP_CipherFinal_ex");
int sb_cipher_ctrl(sb_ossl *ctx, int type, int arg, void *ptr) asm("EVP_CIPHER_CTX_ctrl");
int sb_cipher_padding(sb_ossl *ctx, int pad) asm("EVP_CIPHER_CTX_set_padding");
]]

local SET_IV_LENGTH, GET_TAG, SET_TAG = 9, 16, 17

local cipher = {}
local METATABLE = { __index = cipher }

-- A cipher by OpenSSL's name ("aes-256-gcm"); nil and what is wrong.
function cipher.new(name)
  if not name then return nil, "cipher.new: expect type to be defined" end
  local found = C.sb_cipher(name)
  if found == nil then return nil, 'cipher.new: invalid cipher type "' .. name .. '"' end
  local ctx = ffi.gc(C.sb_cipher_ctx(), C.sb_cipher_ctx_free)
  local aead = name:lower():find "gcm" or name:lower():find "poly1305" or name:lower():find "ccm"
  return setmetatable({ ctx = ctx, cipher = found, aead = aead ~= nil }, METATABLE)
end

-- Options: is_encrypt, no_padding.
function cipher:init(key, iv, options)
  options = options or {}
  local encrypt = options.is_encrypt and 1 or 0
  if C.sb_cipher_init(self.ctx, self.cipher, nil, nil, nil, encrypt) ~= 1 then
    return nil, openssl.problem "cipher:init"
  end
  if self.aead and iv then C.sb_cipher_ctrl(self.ctx, SET_IV_LENGTH, #iv, nil) end
  if C.sb_cipher_init(self.ctx, nil, nil, key, iv, encrypt) ~= 1 then
    return nil, openssl.problem "cipher:init"
  end
  if options.no_padding then C.sb_cipher_padding(self.ctx, 0) end
  self.ready = true
  return true
end

function cipher:update_aead_aad(aad)
  local size = ffi.new("int[1]")
  if C.sb_cipher_update(self.ctx, nil, size, aad, #aad) ~= 1 then
    return nil, openssl.problem "cipher:update_aead_aad"
  end
  return true
end

function cipher:get_aead_tag(size)
  size = size or 16
  local tag = ffi.new("unsigned char[?]", size)
  if C.sb_cipher_ctrl(self.ctx, GET_TAG, size, tag) ~= 1 then
    return nil, openssl.problem "cipher:get_aead_tag"
  end
  return ffi.string(tag, size)
end

function cipher:set_aead_tag(tag)
  if C.sb_cipher_ctrl(self.ctx, SET_TAG, #tag, ffi.cast("void *", tag)) ~= 1 then
    return nil, openssl.problem "cipher:set_aead_tag"
  end
  return true
end

function cipher:update(...)
  if not self.ready then
    return nil, "cipher:update: cipher not initalized, call cipher:init first"
  end
  local parts = {}
  for _, text in ipairs { ... } do
    local out, size = ffi.new("unsigned char[?]", #text + 64), ffi.new("int[1]")
    if C.sb_cipher_update(self.ctx, out, size, text, #text) ~= 1 then
      return nil, openssl.problem "cipher:update"
    end
    parts[#parts + 1] = ffi.string(out, size[0])
  end
  return table.concat(parts)
end

function cipher:final(text)
  local before, problem = "", nil
  if text then
    before, problem = self:update(text)
    if not before then return nil, problem end
  end
  local out, size = ffi.new("unsigned char[64]"), ffi.new("int[1]")
  if C.sb_cipher_final(self.ctx, out, size) ~= 1 then return nil, openssl.problem "cipher:final" end
  return before .. ffi.string(out, size[0])
end

local function run(self, key, iv, text, options, aad, tag)
  local ok, problem = self:init(key, iv, options)
  if ok and aad then ok, problem = self:update_aead_aad(aad) end
  if ok and tag then ok, problem = self:set_aead_tag(tag) end
  if not ok then return nil, problem end
  return self:final(text)
end

function cipher:encrypt(key, iv, text, no_padding, aad)
  return run(self, key, iv, text, { is_encrypt = true, no_padding = no_padding }, aad)
end

function cipher:decrypt(key, iv, text, no_padding, aad, tag)
  return run(self, key, iv, text, { no_padding = no_padding }, aad, tag)
end

return cipher
