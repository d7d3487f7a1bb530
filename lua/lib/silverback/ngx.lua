-- The rest of `ngx`: constants, fields, and what is made of native functions.

local native = require "silverback.native"

local ngx = ngx

-- What LuaJIT has of Lua 5.2 in OpenResty.
table.unpack = table.unpack or unpack
table.pack = table.pack or function(...) return { n = select("#", ...), ... } end

ngx.null = native.null
ngx.OK, ngx.ERROR, ngx.AGAIN, ngx.DONE, ngx.DECLINED = 0, -1, -2, -4, -5

for name, number in pairs(native.methods) do ngx["HTTP_" .. name] = number end

for name, status in pairs {
  CONTINUE = 100, SWITCHING_PROTOCOLS = 101, OK = 200, CREATED = 201, ACCEPTED = 202,
  NO_CONTENT = 204, PARTIAL_CONTENT = 206, SPECIAL_RESPONSE = 300, MOVED_PERMANENTLY = 301,
  MOVED_TEMPORARILY = 302, SEE_OTHER = 303, NOT_MODIFIED = 304, TEMPORARY_REDIRECT = 307,
  PERMANENT_REDIRECT = 308, BAD_REQUEST = 400, UNAUTHORIZED = 401, PAYMENT_REQUIRED = 402,
  FORBIDDEN = 403, NOT_FOUND = 404, NOT_ALLOWED = 405, NOT_ACCEPTABLE = 406,
  REQUEST_TIMEOUT = 408, CONFLICT = 409, GONE = 410, UPGRADE_REQUIRED = 426,
  TOO_MANY_REQUESTS = 429, CLOSE = 444, ILLEGAL = 451, INTERNAL_SERVER_ERROR = 500,
  NOT_IMPLEMENTED = 501, METHOD_NOT_IMPLEMENTED = 501, BAD_GATEWAY = 502,
  SERVICE_UNAVAILABLE = 503, GATEWAY_TIMEOUT = 504, VERSION_NOT_SUPPORTED = 505,
  INSUFFICIENT_STORAGE = 507,
} do
  ngx["HTTP_" .. name] = status
end

for name, level in pairs { STDERR = 0, EMERG = 1, ALERT = 2, CRIT = 3, ERR = 4, WARN = 5,
                           NOTICE = 6, INFO = 7, DEBUG = 8 } do
  ngx[name] = level
end

require "silverback.ffi"
require "silverback.ngx.fields"
require "silverback.ngx.log"
require "silverback.ngx.thread"
require "silverback.ngx.socket"
ngx.re = require "silverback.ngx.re"
ngx.shared = require "silverback.ngx.shared"

ngx.config = {
  subsystem = "http",
  debug = false,
  nginx_version = 1027001,
  ngx_lua_version = 10028,
  is_console = false,
  prefix = function() return native.prefix() or "" end,
  nginx_configure = function() return "" end,
}

ngx.worker = {
  pid = function() return native.pid end,
  pids = function() return { native.pid } end,
  count = function() return native.workers() end,
  exiting = native.exiting,
  id = function() return native.worker % native.workers() end,
}

-- Subrequests go through nginx's own locations, which are not here.
local function no_locations() error("ngx.location: there are no locations here", 2) end
ngx.exec = no_locations
ngx.location = { capture = no_locations, capture_multi = no_locations }
