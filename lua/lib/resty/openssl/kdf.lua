-- Keys of passwords, in the manner of lua-resty-openssl: PBKDF2 and scrypt.
local ffi = require "ffi"
local openssl = require "silverback.openssl"
local C = openssl.C

ffi.cdef [[
int sb_pbkdf2(const char *pass, int passlen, const unsigned char *salt, int saltlen, int iter,
              const sb_ossl *digest, int keylen, unsigned char *out) asm("PKCS5_PBKDF2_HMAC");
int sb_scrypt(const char *pass, size_t passlen, const unsigned char *salt, size_t saltlen,
              uint64_t n, uint64_t r, uint64_t p, uint64_t maxmem, unsigned char *key,
              size_t keylen) asm("EVP_PBE_scrypt");
]]

local kdf = { PBKDF2 = 1, SCRYPT = 2 }

-- So many bytes of a password: `type`, `outlen`, `pass`, `salt`, and those of the type.
function kdf.derive(options)
  local size, pass, salt = options.outlen, options.pass or "", options.salt or ""
  local out, ok = ffi.new("unsigned char[?]", size), nil
  if options.type == kdf.PBKDF2 then
    local digest, problem = openssl.digest(options.md or "sha1")
    if not digest then return nil, "kdf.derive: " .. problem end
    ok = C.sb_pbkdf2(pass, #pass, salt, #salt, options.pbkdf2_iter or 1, digest, size, out)
  elseif options.type == kdf.SCRYPT then
    ok = C.sb_scrypt(pass, #pass, salt, #salt, options.scrypt_N or 1, options.scrypt_r or 1,
                     options.scrypt_p or 1, options.scrypt_maxmem or 33554432, out, size)
  else
    return nil, "kdf.derive: unknown type " .. tostring(options.type)
  end
  if ok ~= 1 then return nil, openssl.problem "kdf.derive" end
  return ffi.string(out, size)
end

return kdf
