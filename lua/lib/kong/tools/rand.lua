-- Randomness (kong/tools/rand.lua): always the system's own.
local native = require "silverback.native"

local tools = { get_rand_bytes = function(count) return native.random(count) end }

-- 32 letters and digits that nobody can guess.
function tools.random_string()
  local text = ngx.encode_base64(native.random(24), true)
  return (text:gsub("[+/]", function()
    return string.char(97 + native.random(1):byte() % 26)
  end))
end

return tools
