-- Compression (kong/tools/gzip.lua).
local native = require "silverback.native"

return {
  -- The text packed; nil and what is wrong.
  deflate_gzip = function(text) return native.gzip(text) end,
  -- What was packed; nil and what is wrong.
  inflate_gzip = function(packed) return native.gunzip(packed) end,
}
