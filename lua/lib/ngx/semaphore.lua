-- Semaphores among a worker's coroutines (lua-resty-core, ngx.semaphore).

local native = require "silverback.native"

local type, setmetatable, floor = type, setmetatable, math.floor

local semaphore = { version = "0.1.28" }
local METATABLE = { __index = semaphore }

-- With that many to give (0).
function semaphore.new(count)
  count = tonumber(count) or 0
  if count < 0 then error("no negative number", 2) end
  return setmetatable({ native.semaphore(floor(count)) }, METATABLE)
end

-- Waits so many seconds for one. True; nil and "timeout".
function semaphore:wait(seconds)
  if type(self) ~= "table" or not self[1] then error("not a semaphore instance", 2) end
  seconds = tonumber(seconds) or 0
  if seconds < 0 then error("no negative number", 2) end
  return native.semaphore_wait(self[1], seconds)
end

-- Gives so many (1).
function semaphore:post(count)
  if type(self) ~= "table" or not self[1] then error("not a semaphore instance", 2) end
  count = count and tonumber(count) or 1
  if count < 1 then error("positive number required", 2) end
  return native.semaphore_post(self[1], floor(count))
end

-- How many there are; how many wait for one, below zero.
function semaphore:count() return native.semaphore_count(self[1]) end

return semaphore
