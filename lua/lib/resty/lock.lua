-- Locks among workers over a shared dictionary, in the manner of lua-resty-lock.

local setmetatable, tostring, min, max = setmetatable, tostring, math.min, math.max

local lock = { _VERSION = "0.09" }
local METATABLE = { __index = lock }

-- A lock in the dictionary of that name. Options: exptime (30), timeout (5), step (0.001), ratio
-- (2), max_step (0.5), all but the ratio in seconds.
function lock.new(_, dict_name, opts)
  local dict = ngx.shared[dict_name]
  if not dict then return nil, "dictionary not found" end
  opts = opts or {}
  local self = {
    dict = dict,
    timeout = opts.timeout or 5,
    exptime = opts.exptime or 30,
    step = opts.step or 0.001,
    ratio = opts.ratio or 2,
    max_step = opts.max_step or 0.5,
  }
  self.timeout = max(self.timeout, 0)
  return setmetatable(self, METATABLE)
end

-- How long it waited; nil and "timeout", "locked" (by this very object) or what failed.
function lock:lock(key)
  if not key then return nil, "nil key" end
  if self.key then return nil, "locked" end
  local elapsed, step = 0, self.step
  while true do
    local ok, problem = self.dict:add(key, true, self.exptime)
    if ok then
      self.key = tostring(key)
      return elapsed
    end
    if problem ~= "exists" then return nil, problem end
    if elapsed >= self.timeout then return nil, "timeout" end
    step = min(step, self.timeout - elapsed)
    ngx.sleep(step)
    elapsed = elapsed + step
    step = min(max(step * self.ratio, 0.001), self.max_step)
  end
end

-- 1; nil and what is wrong.
function lock:unlock()
  if not self.key then return nil, "unlocked" end
  local key = self.key
  self.key = nil
  if not self.dict:get(key) then return nil, "unlocked" end
  self.dict:delete(key)
  return 1
end

-- Holds it for that many seconds (`exptime`) from now on.
function lock:expire(seconds)
  if not self.key then return nil, "unlocked" end
  local ok, problem = self.dict:replace(self.key, true, seconds or self.exptime)
  if not ok then return nil, problem end
  return true
end

return lock
