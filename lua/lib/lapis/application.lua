-- What handlers of the Admin API use of Lapis: giving up with an error.
local application = {}

local YIELDED = {}

-- Ends the handler: its `on_error` answers.
function application.yield_error(problem)
  error(setmetatable({ problem = problem or "unknown error" }, YIELDED))
end

-- The values, or the end of the handler if the first is nil or false.
function application.assert_error(value, problem, ...)
  if value then return value, problem, ... end
  return application.yield_error(problem)
end

-- What a handler was ended with; nil if it was something else.
function application.yielded(problem)
  if getmetatable(problem) == YIELDED then return problem end
end

return application
