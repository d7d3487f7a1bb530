-- `ngx.thread`: light threads, of native ones and semaphores.

local native = require "silverback.native"

local spawn, kill, check = native.spawn, native.kill, native.check_waiting
local semaphore, wait, post = native.semaphore, native.semaphore_wait, native.semaphore_post
local pcall, select, unpack, type, tostring = pcall, select, unpack, type, tostring
local sleep = ngx.sleep
local getmetatable, setmetatable, ipairs = getmetatable, setmetatable, ipairs

local METATABLE = { __name = "thread" }

-- Longer than anything waits.
local FOREVER = 31536000

local function finish(thread, ...)
  thread.count = select("#", ...)
  thread.results = { ... }
  if not thread.results[1] then
    ngx.log(ngx.ERR, "lua user thread aborted: runtime error: ", tostring(thread.results[2]))
  end
  for _, waiting in ipairs(thread.waiting) do post(waiting, 1) end
  thread.waiting = {}
end

local thread = {}

-- Starts a function beside this one.
function thread.spawn(fn, ...)
  if type(fn) ~= "function" then
    error("bad argument #1 to 'spawn' (function expected, got " .. type(fn) .. ")", 2)
  end
  local made = setmetatable({ waiting = {} }, METATABLE)
  made.id = spawn(function(...) finish(made, pcall(fn, ...)) end, ...)
  -- The new thread runs first, as in OpenResty.
  sleep(0)
  return made
end

local function first_done(threads)
  for _, one in ipairs(threads) do
    if one.results and not one.waited then return one end
  end
end

-- Waits for the first that ends: true and its results, or false and its error.
function thread.wait(...)
  check()
  local threads = { ... }
  for i = 1, select("#", ...) do
    if getmetatable(threads[i]) ~= METATABLE then
      error("bad argument #" .. i .. " to 'wait' (lua thread expected)", 2)
    end
    if threads[i].killed then return nil, "killed" end
    if threads[i].waited then return nil, "already waited" end
  end
  local done = first_done(threads)
  if not done then
    local waiting = semaphore(0)
    for _, one in ipairs(threads) do one.waiting[#one.waiting + 1] = waiting end
    wait(waiting, FOREVER)
    done = first_done(threads)
  end
  done.waited = true
  return unpack(done.results, 1, done.count)
end

-- Ends a thread. True; nil and what is wrong.
function thread.kill(one)
  if getmetatable(one) ~= METATABLE then
    error("bad argument #1 to 'kill' (lua thread expected)", 2)
  end
  if one.killed then return nil, "already killed" end
  if one.waited then return nil, "already waited or killed" end
  if one.results then return nil, "already terminated" end
  one.killed = true
  kill(one.id)
  return true
end

ngx.thread = thread
