-- Hexadecimal and numbers, in the manner of lua-resty-string.
local native = require "silverback.native"

return {
  _VERSION = "0.15",
  to_hex = native.hex,
  -- The number in a text's digits; nil if there is none.
  atoi = function(text)
    return tonumber(text:match "^%s*([+-]?%d+)") or 0
  end,
}
