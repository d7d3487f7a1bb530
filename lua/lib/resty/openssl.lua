-- The parts of OpenSSL that plugins use, in the manner of lua-resty-openssl.
return setmetatable({ _VERSION = "1.5.1", load_modules = function() end }, {
  __index = function(_, name) return require("resty.openssl." .. name) end,
})
