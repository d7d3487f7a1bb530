-- The FFI as plugins find it in Kong: what resty.core and Kong's own modules declare is declared,
-- and the functions of OpenSSL are there, where the system has it. It is loaded when a plugin first
-- requires "ffi".

local ffi = require "ffi"

-- Libraries are unloaded with their handles.
local libraries = {}

package.loaded.ffi = nil
package.preload.ffi = function()
  for _, names in ipairs { { "libcrypto.so.3", "libcrypto.so.1.1" },
                           { "libssl.so.3", "libssl.so.1.1" } } do
    for _, name in ipairs(names) do
      local ok, library = pcall(ffi.load, name, true)
      if ok then
        libraries[#libraries + 1] = library
        break
      end
    end
  end
  ffi.cdef [[
    typedef long time_t;
    typedef int clockid_t;
    typedef struct timespec { time_t tv_sec; long tv_nsec; } nanotime;
    int clock_gettime(clockid_t clk_id, struct timespec *tp);
    typedef intptr_t ngx_int_t;
    typedef uintptr_t ngx_uint_t;
    typedef unsigned char u_char;
    typedef struct { size_t len; const unsigned char *data; } ngx_str_t;
    typedef struct ngx_http_request_s ngx_http_request_t;
    int RAND_bytes(u_char *buf, int num);
    unsigned long ERR_get_error(void);
    const char *ERR_reason_error_string(unsigned long e);
    int open(const char *filename, int flags, ...);
    size_t read(int fd, void *buf, size_t count);
    int write(int fd, const void *ptr, int numbytes);
    int close(int fd);
    char *strerror(int errnum);
  ]]
  return ffi
end
