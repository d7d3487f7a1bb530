-- One at a time: among all workers, or among this worker's coroutines (kong/concurrency.lua).

local resty_lock = require "resty.lock"
local semaphore = require "ngx.semaphore"
local in_yieldable_phase = require("kong.tools.yield").in_yieldable_phase

local concurrency = {}

local semaphores = {}

local function check(opts, name, kind, required)
  local value = opts[name]
  if value == nil and not required then return end
  if type(value) ~= kind then
    local text = required and "opts.%s is required and must be a %s" or "opts.%s must be a %s"
    error(text:format(name, kind), 3)
  end
end

-- Runs a function while no worker runs one under the same name.
function concurrency.with_worker_mutex(opts, fn)
  if type(opts) ~= "table" then error("opts must be a table", 2) end
  check(opts, "name", "string", true)
  check(opts, "timeout", "number")
  check(opts, "exptime", "number")
  local timeout = opts.timeout or 60
  local lock, problem = resty_lock:new("kong_locks", {
    timeout = timeout, exptime = opts.exptime or timeout,
  })
  if not lock then return nil, "failed to create worker lock: " .. problem end
  local elapsed
  elapsed, problem = lock:lock(opts.name)
  if not elapsed then
    if problem == "timeout" then return nil, problem, lock.dict and lock.dict:ttl(opts.name) end
    return nil, "failed to acquire worker lock: " .. problem
  end
  local ran, result, err = pcall(fn, elapsed)
  lock:unlock(opts.name)
  if not ran then return nil, result end
  return result, err
end

local function named_semaphore(name)
  local found = semaphores[name]
  if not found then
    found = semaphore.new(1)
    semaphores[name] = found
  end
  return found
end

local TIMEOUTS = { run_unlocked = true, return_true = true }

-- Runs a function while no other coroutine of this worker runs one under the same name.
function concurrency.with_coroutine_mutex(opts, fn)
  if type(opts) ~= "table" then error("opts must be a table", 2) end
  check(opts, "name", "string", true)
  check(opts, "timeout", "number")
  if opts.on_timeout and not TIMEOUTS[opts.on_timeout] then
    error("invalid value for opts.on_timeout", 2)
  end
  if not in_yieldable_phase() then return fn() end
  local held = named_semaphore(opts.name)
  local locked, problem = held:wait(opts.timeout or 60)
  if not locked then
    if problem ~= "timeout" then
      return nil, "error attempting to acquire " .. opts.name .. " lock: " .. problem
    elseif opts.on_timeout == "return_true" then
      return true
    elseif not opts.on_timeout then
      return nil, "timeout acquiring " .. opts.name .. " lock"
    end
    kong.log.warn("bypassing ", opts.name, " lock: timeout")
  end
  local ran, result, err = pcall(fn)
  if locked then held:post(1) end
  if not ran then return nil, result end
  return result, err
end

return concurrency
