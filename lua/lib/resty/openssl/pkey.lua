-- Keys, in the manner of lua-resty-openssl.
local ffi = require "ffi"
local openssl = require "silverback.openssl"
local C = openssl.C

ffi.cdef [[
sb_ossl *sb_pem_private(sb_ossl *bio, sb_ossl **x, void *cb, void *u)
  asm("PEM_read_bio_PrivateKey");
sb_ossl *sb_pem_public(sb_ossl *bio, sb_ossl **x, void *cb, void *u) asm("PEM_read_bio_PUBKEY");
sb_ossl *sb_der_private(sb_ossl *bio, sb_ossl **x) asm("d2i_PrivateKey_bio");
sb_ossl *sb_der_public(sb_ossl *bio, sb_ossl **x) asm("d2i_PUBKEY_bio");
int sb_write_private(sb_ossl *bio, sb_ossl *key, void *enc, void *k, int l, void *cb, void *u)
  asm("PEM_write_bio_PrivateKey");
int sb_write_public(sb_ossl *bio, sb_ossl *key) asm("PEM_write_bio_PUBKEY");
int sb_der_write_public(sb_ossl *bio, sb_ossl *key) asm("i2d_PUBKEY_bio");
int sb_der_write_private(sb_ossl *bio, sb_ossl *key) asm("i2d_PrivateKey_bio");
void sb_pkey_free(sb_ossl *key) asm("EVP_PKEY_free");
int sb_pkey_base_id(const sb_ossl *key) asm("EVP_PKEY_get_base_id");
int sb_pkey_bits(const sb_ossl *key) asm("EVP_PKEY_get_bits");
sb_ossl *sb_pkey_ctx_id(int id, sb_ossl *e) asm("EVP_PKEY_CTX_new_id");
sb_ossl *sb_pkey_ctx(sb_ossl *key, sb_ossl *e) asm("EVP_PKEY_CTX_new");
void sb_pkey_ctx_free(sb_ossl *ctx) asm("EVP_PKEY_CTX_free");
int sb_keygen_init(sb_ossl *ctx) asm("EVP_PKEY_keygen_init");
int sb_ctx_set(sb_ossl *ctx, const char *name, const char *value) asm("EVP_PKEY_CTX_ctrl_str");
int sb_keygen(sb_ossl *ctx, sb_ossl **key) asm("EVP_PKEY_keygen");
sb_ossl *sb_md_ctx(void) asm("EVP_MD_CTX_new");
void sb_md_ctx_free(sb_ossl *ctx) asm("EVP_MD_CTX_free");
int sb_sign_init(sb_ossl *ctx, sb_ossl **pctx, const sb_ossl *type, sb_ossl *e, sb_ossl *key)
  asm("EVP_DigestSignInit");
int sb_sign(sb_ossl *ctx, unsigned char *sig, size_t *len, const char *data, size_t size)
  asm("EVP_DigestSign");
int sb_verify_init(sb_ossl *ctx, sb_ossl **pctx, const sb_ossl *type, sb_ossl *e, sb_ossl *key)
  asm("EVP_DigestVerifyInit");
int sb_verify(sb_ossl *ctx, const char *sig, size_t len, const char *data, size_t size)
  asm("EVP_DigestVerify");
int sb_encrypt_init(sb_ossl *ctx) asm("EVP_PKEY_encrypt_init");
int sb_encrypt(sb_ossl *ctx, unsigned char *out, size_t *len, const char *in, size_t size)
  asm("EVP_PKEY_encrypt");
int sb_decrypt_init(sb_ossl *ctx) asm("EVP_PKEY_decrypt_init");
int sb_decrypt(sb_ossl *ctx, unsigned char *out, size_t *len, const char *in, size_t size)
  asm("EVP_PKEY_decrypt");
]]

local ecdsa = require "silverback.openssl.ecdsa"

local pkey = { PADDINGS = { RSA_PKCS1_PADDING = 1, RSA_NO_PADDING = 3, RSA_PKCS1_OAEP_PADDING = 4,
                            RSA_X931_PADDING = 5, RSA_PKCS1_PSS_PADDING = 6 } }
local METATABLE = { __index = pkey }
local PADDING_NAMES = { [1] = "pkcs1", [3] = "none", [4] = "oaep", [5] = "x931", [6] = "pss" }
local TYPES = { RSA = 6, EC = 408, X25519 = 1034, X448 = 1035, ED25519 = 1087, ED448 = 1088 }
-- Keys whose signatures have a digest of their own.
local EDWARDS = { [1087] = true, [1088] = true }

local function wrap(key, private)
  return setmetatable({ key = ffi.gc(key, C.sb_pkey_free), key_type = C.sb_pkey_base_id(key),
                        private = private }, METATABLE)
end

-- A new key: `type`, and `bits` or `curve`.
local function generate(options)
  local kind = TYPES[(options.type or "RSA"):upper()]
  if not kind then return nil, "pkey.new: unsupported type " .. tostring(options.type) end
  local ctx = ffi.gc(C.sb_pkey_ctx_id(kind, nil), C.sb_pkey_ctx_free)
  local ok = C.sb_keygen_init(ctx) == 1
  if ok and kind == TYPES.RSA then
    ok = C.sb_ctx_set(ctx, "rsa_keygen_bits", tostring(options.bits or 2048)) > 0
  elseif ok and kind == TYPES.EC then
    ok = C.sb_ctx_set(ctx, "ec_paramgen_curve", options.curve or "prime256v1") > 0
         and C.sb_ctx_set(ctx, "ec_param_enc", "named_curve") > 0
  end
  local made = ffi.new("sb_ossl *[1]")
  if not ok or C.sb_keygen(ctx, made) ~= 1 then return nil, openssl.problem "pkey.new" end
  return wrap(made[0], true)
end

-- How a key may be written, what reads it, and whether it is private then.
local READERS = {
  { "PEM", "pr", function(bio) return C.sb_pem_private(bio, nil, nil, nil) end, true },
  { "PEM", "pu", function(bio) return C.sb_pem_public(bio, nil, nil, nil) end, false },
  { "DER", "pr", function(bio) return C.sb_der_private(bio, nil) end, true },
  { "DER", "pu", function(bio) return C.sb_der_public(bio, nil) end, false },
}

local function load(text, options)
  local format, kind = options.format or "*", options.type or "*"
  if format == "JWK" or (format == "*" and text:find "^%s*{") then
    local der, problem = require("silverback.openssl.jwk").to_der(text)
    if not der then return nil, "pkey.new: " .. problem end
    text, format, kind = der, "DER", "pu"
  end
  for _, reader in ipairs(READERS) do
    if (format == "*" or format == reader[1]) and (kind == "*" or kind == reader[2]) then
      local key = reader[3](openssl.reader(text))
      if key ~= nil then
        C.sb_clear_error()
        return wrap(key, reader[4])
      end
    end
  end
  return nil, openssl.problem "pkey.new:load_key"
end

-- A key: of a text (PEM, DER or JWK), or a new one of a table that says which kind.
function pkey.new(source, options)
  if source == nil or type(source) == "table" then return generate(source or {}) end
  if type(source) ~= "string" then
    return nil, "pkey.new: unexpected type " .. type(source) .. " at #1"
  end
  return load(source, options or {})
end

function pkey.istype(value) return getmetatable(value) == METATABLE end
function pkey:is_private() return self.private end
function pkey:get_size() return math.ceil(C.sb_pkey_bits(self.key) / 8) end
function pkey:get_key_type()
  for name, id in pairs(TYPES) do
    if id == self.key_type then return { id = id, nid = id, sn = name, ln = name } end
  end
  return { id = self.key_type, nid = self.key_type }
end

-- As text: "public" (where nothing else is said) or "private"; "PEM" or "DER".
function pkey:tostring(which, format)
  local bio, private = openssl.writer(), which == "private" or which == "PrivateKey"
  local ok
  if format == "DER" then
    ok = private and C.sb_der_write_private(bio, self.key) or C.sb_der_write_public(bio, self.key)
  elseif private then
    ok = C.sb_write_private(bio, self.key, nil, nil, 0, nil, nil)
  else
    ok = C.sb_write_public(bio, self.key)
  end
  if ok ~= 1 then return nil, openssl.problem "pkey:tostring" end
  return openssl.written(bio)
end
function pkey:to_PEM(which) return self:tostring(which, "PEM") end

-- The text to sign and its digest's name; a digest object stands for what was put into it.
local function message(data, name)
  if type(data) == "table" and data.text then return table.concat(data.text), data.algorithm end
  return data, name
end

local function begin(self, init, name, padding)
  local digest
  if not EDWARDS[self.key_type] then
    local problem
    digest, problem = openssl.digest(name)
    if not digest then return nil, problem end
  end
  local ctx, pctx = ffi.gc(C.sb_md_ctx(), C.sb_md_ctx_free), ffi.new("sb_ossl *[1]")
  if init(ctx, pctx, digest, nil, self.key) ~= 1 then return nil, openssl.problem "pkey" end
  if padding and self.key_type == TYPES.RSA then
    C.sb_ctx_set(pctx[0], "rsa_padding_mode", PADDING_NAMES[padding] or "pkcs1")
    if padding == 6 then C.sb_ctx_set(pctx[0], "rsa_pss_saltlen", "digest") end
  end
  return ctx
end

-- A signature of a text (or of what a digest object holds); options: ecdsa_use_raw.
function pkey:sign(data, name, padding, options)
  local text
  text, name = message(data, name)
  local ctx, problem = begin(self, C.sb_sign_init, name, padding)
  if not ctx then return nil, "pkey:sign: " .. problem end
  local size = ffi.new("size_t[1]")
  if C.sb_sign(ctx, nil, size, text, #text) ~= 1 then return nil, openssl.problem "pkey:sign" end
  local out = ffi.new("unsigned char[?]", size[0])
  if C.sb_sign(ctx, out, size, text, #text) ~= 1 then return nil, openssl.problem "pkey:sign" end
  local signature = ffi.string(out, size[0])
  if options and options.ecdsa_use_raw and self.key_type == TYPES.EC then
    return ecdsa.to_raw(signature, self:get_size())
  end
  return signature
end

-- Whether a signature is that of a text.
function pkey:verify(signature, data, name, padding, options)
  local text
  text, name = message(data, name)
  if options and options.ecdsa_use_raw and self.key_type == TYPES.EC then
    signature = ecdsa.to_der(signature)
  end
  local ctx, problem = begin(self, C.sb_verify_init, name, padding)
  if not ctx then return nil, "pkey:verify: " .. problem end
  local result = C.sb_verify(ctx, signature, #signature, text, #text)
  if result == 1 then return true end
  C.sb_clear_error()
  return false
end

local function crypt(self, text, padding, init, work, what)
  local ctx = ffi.gc(C.sb_pkey_ctx(self.key, nil), C.sb_pkey_ctx_free)
  if init(ctx) ~= 1 then return nil, openssl.problem(what) end
  C.sb_ctx_set(ctx, "rsa_padding_mode", PADDING_NAMES[padding or 1] or "pkcs1")
  local size = ffi.new("size_t[1]")
  if work(ctx, nil, size, text, #text) ~= 1 then return nil, openssl.problem(what) end
  local out = ffi.new("unsigned char[?]", size[0])
  if work(ctx, out, size, text, #text) ~= 1 then return nil, openssl.problem(what) end
  return ffi.string(out, size[0])
end

function pkey:encrypt(text, padding)
  return crypt(self, text, padding, C.sb_encrypt_init, C.sb_encrypt, "pkey:encrypt")
end

function pkey:decrypt(text, padding)
  return crypt(self, text, padding, C.sb_decrypt_init, C.sb_decrypt, "pkey:decrypt")
end

return pkey
