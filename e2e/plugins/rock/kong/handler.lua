local sum = require "rocked.sum"

local Rocked = { PRIORITY = 5, VERSION = "1.0.0" }

function Rocked:access(conf)
  local ok, why = pcall(sum, "x", 1)
  return kong.response.exit(200, { sum = sum(conf.a, 2), fails = not ok, why = why })
end

return Rocked
