-- OpenSSL's version, in the manner of lua-resty-openssl.
local ffi = require "ffi"
local C = require("silverback.openssl").C

ffi.cdef [[
unsigned long sb_version_num(void) asm("OpenSSL_version_num");
const char *sb_version(int t) asm("OpenSSL_version");
]]

local number = tonumber(C.sb_version_num())
return {
  version_num = number,
  version_text = ffi.string(C.sb_version(0)),
  version = function(kind) return ffi.string(C.sb_version(kind)) end,
  OPENSSL_3X = number >= 0x30000000,
  OPENSSL_111_OR_LATER = number >= 0x10101000,
  OPENSSL_11_OR_LATER = true, OPENSSL_11 = false, OPENSSL_10 = false, BORINGSSL = false,
}
