-- LuaSocket on cosockets: what would block the whole worker waits for its own request alone. Times
-- are seconds, as LuaSocket counts them.

local error, pcall, select, setmetatable, type = error, pcall, select, setmetatable, type

local socket = {
  _VERSION = "LuaSocket 3.0 (cosockets)",
  BLOCKSIZE = 2048,
  gettime = function() return require("luatz.gettime").gettime() end,
  sleep = function(seconds) ngx.sleep(seconds) end,
  udp = function() return ngx.socket.udp() end,
}

-- The results from one on.
function socket.skip(count, ...) return select(count + 1, ...) end

-- What `try` raises, so that `protect` knows it from other errors.
local THROWN = {}

-- A function that gives its arguments, or raises the second one, for `protect`, if the first is nil
-- or false; `finalizer` is called before.
function socket.newtry(finalizer)
  return function(...)
    local ok, problem = ...
    if ok then return ... end
    if finalizer then pcall(finalizer) end
    error(setmetatable({ problem }, THROWN), 0)
  end
end
socket.try = socket.newtry()

local function protected(ok, ...)
  if ok then return ... end
  local problem = ...
  if type(problem) == "table" and getmetatable(problem) == THROWN then return nil, problem[1] end
  error(problem, 0)
end

-- A function that gives nil and what `try` has raised in it.
function socket.protect(f)
  return function(...) return protected(pcall(f, ...)) end
end

-- A function that makes a source or sink of a kind: ("KIND", ...), or (...) for the default.
function socket.choose(makers)
  return function(name, first, second)
    if type(name) ~= "string" then name, first, second = "default", name, first end
    local make = makers[name or "nil"]
    if not make then error("unknown key (" .. tostring(name) .. ")", 3) end
    return make(first, second)
  end
end

socket.sourcet, socket.sinkt = {}, {}

local function sink(target, at_end)
  return function(chunk, problem)
    if chunk then return target:send(chunk) end
    if at_end and not problem then at_end() end
    return 1
  end
end

socket.sinkt["close-when-done"] = function(target)
  return sink(target, function() target:close() end)
end
socket.sinkt["keep-open"] = function(target) return sink(target) end
socket.sinkt.default = socket.sinkt["keep-open"]
socket.sink = socket.choose(socket.sinkt)

socket.sourcet["by-length"] = function(from, length)
  return function()
    if length <= 0 then return nil end
    local chunk, problem = from:receive(math.min(socket.BLOCKSIZE, length))
    if not chunk then return nil, problem end
    length = length - #chunk
    return chunk
  end
end
socket.sourcet["until-closed"] = function(from)
  local done
  return function()
    if done then return nil end
    local chunk, problem, partial = from:receive(socket.BLOCKSIZE)
    if chunk then return chunk end
    if problem ~= "closed" then return nil, problem end
    from:close()
    done = true
    return partial
  end
end
socket.sourcet.default = socket.sourcet["until-closed"]
socket.source = socket.choose(socket.sourcet)

-- A cosocket with LuaSocket's methods.
local tcp = {}
local TCP = { __index = tcp }

function socket.tcp() return setmetatable({ under = ngx.socket.tcp() }, TCP) end
socket.tcp4, socket.tcp6 = socket.tcp, socket.tcp

function socket.connect(host, port)
  local made = socket.tcp()
  local ok, problem = made:connect(host, port)
  if not ok then return nil, problem end
  return made
end

function tcp:connect(host, port) return self.under:connect(host, tonumber(port)) end
function tcp:close() return self.under:close() end
function tcp:setoption() return 1 end
function tcp:shutdown() return 1 end

function tcp:settimeout(seconds)
  -- None, or less than none, is for ever: a day here.
  if not seconds or seconds < 0 then seconds = 86400 end
  self.under:settimeout(seconds * 1000)
  return 1
end

function tcp:send(data, first, last)
  if first or last then data = data:sub(first or 1, last or -1) end
  local sent, problem = self.under:send(data)
  if not sent then return nil, problem, 0 end
  return (first or 1) - 1 + sent
end

function tcp:receive(pattern, prefix)
  local data, problem, partial = self.under:receive(pattern or "*l")
  prefix = prefix or ""
  if data then return prefix .. data end
  return nil, problem, prefix .. (partial or "")
end

return socket
