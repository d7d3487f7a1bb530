-- Certificates, in the manner of lua-resty-openssl.
local ffi = require "ffi"
local openssl = require "silverback.openssl"
local pkey = require "resty.openssl.pkey"
local native = require "silverback.native"
local C = openssl.C

ffi.cdef [[
sb_ossl *sb_pem_x509(sb_ossl *bio, sb_ossl **x, void *cb, void *u) asm("PEM_read_bio_X509");
sb_ossl *sb_der_x509(sb_ossl *bio, sb_ossl **x) asm("d2i_X509_bio");
int sb_write_x509(sb_ossl *bio, sb_ossl *x) asm("PEM_write_bio_X509");
int sb_der_write_x509(sb_ossl *bio, sb_ossl *x) asm("i2d_X509_bio");
void sb_x509_free(sb_ossl *x) asm("X509_free");
sb_ossl *sb_x509_pubkey(sb_ossl *x) asm("X509_get_pubkey");
sb_ossl *sb_x509_subject(sb_ossl *x) asm("X509_get_subject_name");
sb_ossl *sb_x509_issuer(sb_ossl *x) asm("X509_get_issuer_name");
sb_ossl *sb_x509_serial(sb_ossl *x) asm("X509_get0_serialNumber");
sb_ossl *sb_x509_before(sb_ossl *x) asm("X509_get0_notBefore");
sb_ossl *sb_x509_after(sb_ossl *x) asm("X509_get0_notAfter");
sb_ossl *sb_time_now(sb_ossl *t, long t2) asm("ASN1_TIME_set");
void sb_time_free(sb_ossl *t) asm("ASN1_STRING_free");
int sb_time_diff(int *days, int *secs, sb_ossl *from, sb_ossl *to) asm("ASN1_TIME_diff");
int sb_name_print(sb_ossl *bio, sb_ossl *name, int indent, unsigned long flags)
  asm("X509_NAME_print_ex");
int sb_print_integer(sb_ossl *bio, sb_ossl *number) asm("i2a_ASN1_INTEGER");
int sb_check_host(sb_ossl *x, const char *name, size_t len, unsigned int flags, char **peer)
  asm("X509_check_host");
int sb_check_ip(sb_ossl *x, const char *ip, unsigned int flags) asm("X509_check_ip_asc");
int sb_x509_verify(sb_ossl *x, sb_ossl *key) asm("X509_verify");
]]

local x509 = {}
local METATABLE = { __index = x509 }

-- A certificate of a text: "PEM", "DER" or, as where nothing is said, either.
function x509.new(text, format)
  if type(text) ~= "string" then return nil, "x509.new: expect nil or a string at #1" end
  format = format or "*"
  local made
  if format ~= "DER" then made = C.sb_pem_x509(openssl.reader(text), nil, nil, nil) end
  if made == nil and format ~= "PEM" then made = C.sb_der_x509(openssl.reader(text), nil) end
  if made == nil then return nil, openssl.problem "x509.new" end
  C.sb_clear_error()
  return setmetatable({ ctx = ffi.gc(made, C.sb_x509_free) }, METATABLE)
end

function x509.istype(value) return getmetatable(value) == METATABLE end

-- As text: "PEM" or "DER".
function x509:tostring(format)
  local bio = openssl.writer()
  local write = format == "DER" and C.sb_der_write_x509 or C.sb_write_x509
  if write(bio, self.ctx) ~= 1 then return nil, openssl.problem "x509:tostring" end
  return openssl.written(bio)
end
function x509:to_PEM() return self:tostring "PEM" end

-- The bytes of its digest.
function x509:digest(algorithm) return native.digest(algorithm or "sha1", self:tostring "DER") end
function x509:pubkey_digest(algorithm)
  local key = self:get_pubkey()
  return native.digest(algorithm or "sha1", key:tostring("public", "DER"))
end

function x509:get_pubkey()
  local key = C.sb_x509_pubkey(self.ctx)
  if key == nil then return nil, openssl.problem "x509:get_pubkey" end
  local bio = openssl.writer()
  C.sb_write_public(bio, key)
  C.sb_pkey_free(key)
  return pkey.new(openssl.written(bio))
end

local NAME = {}
NAME.__index = NAME
function NAME:__tostring() return (self.text:gsub("\n", "/")) end
-- The first part of that name: its value under `blob`.
function NAME:find(name)
  for i, part in ipairs(self.parts) do
    if part.sn == name then return part, i end
  end
end
function NAME:all()
  local all = {}
  for _, part in ipairs(self.parts) do all[part.sn] = { sn = part.sn, blob = part.blob } end
  return all
end

-- A line for each part: "CN=name".
local function name_of(name)
  local bio = openssl.writer()
  -- XN_FLAG_SEP_MULTILINE, UTF-8
  C.sb_name_print(bio, name, 0, 0x40010)
  local text, parts = openssl.written(bio), {}
  for line in text:gmatch "[^\n]+" do
    local key, value = line:match "^%s*([^=]-)%s*=%s*(.*)$"
    if key then parts[#parts + 1] = { sn = key, ln = key, blob = value } end
  end
  return setmetatable({ text = text, parts = parts }, NAME)
end
function x509:get_subject_name() return name_of(C.sb_x509_subject(self.ctx)) end
function x509:get_issuer_name() return name_of(C.sb_x509_issuer(self.ctx)) end

local function seconds(time)
  local epoch = ffi.gc(C.sb_time_now(nil, 0), C.sb_time_free)
  local days, rest = ffi.new("int[1]"), ffi.new("int[1]")
  if C.sb_time_diff(days, rest, epoch, time) ~= 1 then return nil, openssl.problem "x509" end
  return days[0] * 86400 + rest[0]
end
-- Seconds since 1970.
function x509:get_not_before() return seconds(C.sb_x509_before(self.ctx)) end
function x509:get_not_after() return seconds(C.sb_x509_after(self.ctx)) end
function x509:get_lifetime() return self:get_not_before(), self:get_not_after() end

-- In hexadecimal.
function x509:get_serial_number()
  local bio = openssl.writer()
  C.sb_print_integer(bio, C.sb_x509_serial(self.ctx))
  local hex = openssl.written(bio)
  return { to_hex = function() return hex end, tostring = function() return hex end }
end

function x509:check_host(name) return C.sb_check_host(self.ctx, name, #name, 0, nil) == 1 end
function x509:check_ip(ip) return C.sb_check_ip(self.ctx, ip, 0) == 1 end
-- Whether a key has signed it.
function x509:verify(key) return C.sb_x509_verify(self.ctx, key.key) == 1 end

return x509
