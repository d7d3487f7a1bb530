-- Counters in a shared dictionary that a worker adds up for itself first, in the manner of
-- lua-resty-counter.

local ngx = ngx
local pairs, setmetatable, type = pairs, setmetatable, type

local counter = { _VERSION = "0.2.1" }
local METATABLE = { __index = counter }

local function write(self)
  for key, value in pairs(self.increments) do
    self.increments[key] = nil
    local _, problem = self.dict:incr(key, value, 0)
    if problem then
      ngx.log(ngx.ERR, "error increasing counter in shdict key: ", key, ", err: ", problem)
    end
  end
end

local function tick(early, self)
  write(self)
  if not early then
    local ok, problem = ngx.timer.at(self.interval, tick, self)
    if not ok and problem ~= "process exiting" then
      ngx.log(ngx.ERR, "error setting up timer: ", problem)
    end
  end
end

-- (name of the dictionary, seconds between two times that counts are written there)
function counter.new(name, interval)
  local dict = ngx.shared[name]
  if not dict then return nil, "shared dict does not exist" end
  local self = setmetatable({ dict = dict, interval = interval, increments = {} }, METATABLE)
  if interval then
    if type(interval) ~= "number" or interval < 0 then return nil, "invalid sync_interval" end
    local ok, problem = ngx.timer.at(interval, tick, self)
    if not ok then return nil, "error setting up timer: " .. problem end
  end
  return self
end

function counter:sync()
  write(self)
  return true
end

function counter:incr(key, step)
  if not self.interval then
    return self.dict:incr(key, step or 1, 0)
  end
  self.increments[key] = (self.increments[key] or 0) + (step or 1)
  return true
end

function counter:reset(key, number)
  if not number then return nil, "expect a number at #2" end
  return self.dict:incr(key, -number, number)
end

function counter:get(key) return self.dict:get(key) end
function counter:get_keys(most) return self.dict:get_keys(most) end

return counter
