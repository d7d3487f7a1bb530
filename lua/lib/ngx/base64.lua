-- Base64 for URLs, and with noise in between (lua-resty-core, ngx.base64).
local native = require "silverback.native"
return {
  version = "0.1.28",
  encode_base64url = native.encode_base64url,
  decode_base64url = native.decode_base64url,
  decode_base64mime = native.decode_base64mime,
}
