-- `kong.timer` (lua-resty-timer-ng): timers with names.

local timer = {}

-- Names of timers that still run, and whether they were cancelled.
local named = {}
local last = 0

local function name_or_number(name)
  if name then return name end
  last = last + 1
  return "unix_timestamp=" .. ngx.now() .. ";counter=" .. last
end

local function start(begin, name, delay, callback, ...)
  name = name_or_number(name)
  if named[name] then return nil, "timer '" .. name .. "' already exists" end
  local entry = {}
  named[name] = entry
  local once = begin == ngx.timer.at
  local ok, problem = begin(delay, function(early, ...)
    if entry.cancelled or (once and named[name] ~= entry) then return end
    if once then named[name] = nil end
    return callback(early, ...)
  end, ...)
  if ok then return name end
  named[name] = nil
  return nil, problem
end

function timer:at(delay, callback, ...) return start(ngx.timer.at, nil, delay, callback, ...) end
function timer:every(interval, callback, ...)
  return start(ngx.timer.every, nil, interval, callback, ...)
end
function timer:named_at(name, delay, callback, ...)
  return start(ngx.timer.at, name, delay, callback, ...)
end
function timer:named_every(name, interval, callback, ...)
  return start(ngx.timer.every, name, interval, callback, ...)
end

-- Has a timer not run any more.
function timer:cancel(name)
  local entry = named[name]
  if not entry then return nil, "timer not found" end
  entry.cancelled, named[name] = true, nil
  return true
end

function timer:is_managed(name) return named[name] ~= nil end
function timer:start() return true end
function timer:stats()
  local pending = ngx.timer.pending_count()
  local running = ngx.timer.running_count()
  return { sys = { running = running, pending = pending, waiting = 0, total = running + pending },
           timers = {} }
end

return timer
