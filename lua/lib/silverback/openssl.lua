-- OpenSSL's libcrypto, where the system has it: what `resty.openssl.*` of ours stand on. Digests
-- and the like need none of it.

local ffi = require "ffi"

local NAMES = { "libcrypto.so.3", "libcrypto.so.1.1", "crypto" }

local function load_library()
  for _, name in ipairs(NAMES) do
    local ok, library = pcall(ffi.load, name)
    if ok then return library end
  end
  error("OpenSSL's libcrypto is not installed on this machine (" .. table.concat(NAMES, ", ") ..
        "): install it to use keys, certificates and ciphers in Lua", 3)
end

local openssl = { C = load_library() }
local C = openssl.C

-- In names of our own, since other modules may declare OpenSSL's.
ffi.cdef [[
typedef struct sb_ossl sb_ossl;
unsigned long sb_get_error(void) asm("ERR_get_error");
void sb_error_string(unsigned long e, char *buf, size_t len) asm("ERR_error_string_n");
void sb_clear_error(void) asm("ERR_clear_error");
sb_ossl *sb_mem_buf(const void *buf, int len) asm("BIO_new_mem_buf");
sb_ossl *sb_bio_new(sb_ossl *kind) asm("BIO_new");
sb_ossl *sb_bio_mem(void) asm("BIO_s_mem");
int sb_bio_free(sb_ossl *bio) asm("BIO_free");
int sb_bio_read(sb_ossl *bio, void *data, int len) asm("BIO_read");
size_t sb_bio_pending(sb_ossl *bio) asm("BIO_ctrl_pending");
sb_ossl *sb_digest(const char *name) asm("EVP_get_digestbyname");
]]

-- The first error that waits, as text.
function openssl.problem(what)
  local code = C.sb_get_error()
  C.sb_clear_error()
  if code == 0 then return what .. ": failed" end
  local buffer = ffi.new("char[256]")
  C.sb_error_string(code, buffer, 256)
  return what .. ": " .. ffi.string(buffer)
end

-- A stream over a text. The text must live as long.
function openssl.reader(text)
  local bio = C.sb_mem_buf(text, #text)
  return ffi.gc(bio, C.sb_bio_free)
end

-- A stream to write to, and what was written to it.
function openssl.writer() return ffi.gc(C.sb_bio_new(C.sb_bio_mem()), C.sb_bio_free) end
function openssl.written(bio)
  local size = tonumber(C.sb_bio_pending(bio))
  local buffer = ffi.new("char[?]", size + 1)
  local read = C.sb_bio_read(bio, buffer, size)
  return ffi.string(buffer, math.max(read, 0))
end

-- A digest by its name; nil and what is wrong.
function openssl.digest(name)
  local found = C.sb_digest(name or "sha256")
  if found == nil then return nil, 'invalid digest type "' .. tostring(name) .. '"' end
  return found
end

return openssl
