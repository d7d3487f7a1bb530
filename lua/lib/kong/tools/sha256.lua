-- SHA-256 in the usual spellings (kong/tools/sha256.lua).
local native = require "silverback.native"

local tools = {}

-- The digest's 32 bytes.
function tools.sha256_bin(text) return native.digest("sha256", text) end

-- In lower-case hexadecimal.
function tools.sha256_hex(text) return native.hex(tools.sha256_bin(text)) end

-- In base64.
function tools.sha256_base64(text) return ngx.encode_base64(tools.sha256_bin(text)) end

-- In base64 for URLs.
function tools.sha256_base64url(text)
  return require("ngx.base64").encode_base64url(tools.sha256_bin(text))
end

return tools
