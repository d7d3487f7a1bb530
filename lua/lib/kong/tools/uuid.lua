-- UUIDs (kong/tools/uuid.lua).
local jit_uuid = require "resty.jit-uuid"

local tools = { uuid = jit_uuid.generate_v4 }

-- Whether a text has a UUID's form, in either case.
function tools.is_valid_uuid(text) return jit_uuid.is_valid(text) end

return tools
