-- Random bytes, in the manner of lua-resty-string.
local native = require "silverback.native"

return {
  _VERSION = "0.15",
  -- That many bytes. All of them are strong, asked for or not.
  bytes = function(length) return native.random(length) end,
  -- A text of letters and digits.
  token = function(length, alphabet)
    alphabet = alphabet
      or "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    local token = {}
    for i = 1, length do
      local at = native.random_below(#alphabet) + 1
      token[i] = alphabet:sub(at, at)
    end
    return table.concat(token)
  end,
  number = function(from, to, _) return from + native.random_below(to - from + 1) end,
}
