-- JSON with arrays that stay arrays (kong/tools/cjson.lua).
local cjson = require("cjson.safe").new()
local new_tab = require "table.new"

cjson.decode_array_with_array_mt(true)
cjson.encode_sparse_array(nil, nil, 32768)
cjson.encode_number_precision(require("kong.constants").CJSON_MAX_PRECISION)

local tools = {
  encode = cjson.encode,
  decode_with_array_mt = cjson.decode,
  array_mt = cjson.array_mt,
}

-- A table that is written as an array even when it is empty.
function tools.new_array(size)
  return setmetatable(size and new_tab(size, 0) or {}, cjson.array_mt)
end

return tools
