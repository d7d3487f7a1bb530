-- What modules take of lua-resty-core's inside (resty.core.base): nothing of it is needed here but
-- a few helpers.
local native = require "silverback.native"
return {
  version = "0.1.28",
  FFI_OK = 0, FFI_ERROR = -1, FFI_DECLINED = -5, FFI_NO_REQ_CTX = -100, FFI_BAD_CONTEXT = -101,
  new_tab = require "table.new",
  clear_tab = require "table.clear",
  get_request = function() return native.exchange() end,
  get_string_buf = function(size)
    local ffi = require "ffi"
    return ffi.new("unsigned char[?]", size)
  end,
  get_size_ptr = function()
    local ffi = require "ffi"
    return ffi.new "size_t[1]"
  end,
  get_errmsg_ptr = function()
    local ffi = require "ffi"
    return ffi.new "const char *[1]"
  end,
  set_string_buf_size = function() end,
  get_string_buf_size = function() return 4096 end,
  allows_subsystem = function() end,
  subsystem = "http",
  ref_in_table = function(t, value)
    t[#t + 1] = value
    return #t
  end,
}
