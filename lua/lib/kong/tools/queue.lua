-- Queues that hand their entries over in batches and try again (kong/tools/queue.lua).

local semaphore = require "ngx.semaphore"
local workspaces = require "kong.workspaces"
local parameters = require "kong.tools.queue.parameters"

local type, pcall, select, tostring, min = type, pcall, select, tostring, math.min

local Queue = { get_plugin_params = parameters.get_plugin_params }
local methods = {}
local METATABLE = { __index = methods }

-- From this part of its capacity on a queue warns.
local WARN_FROM = 0.8
Queue._CAPACITY_WARNING_THRESHOLD = WARN_FROM
-- How often a queue that gathers a batch looks whether the worker ends, seconds.
local POLL = 1
-- It isn't worth waiting less than this for more entries, seconds.
local WORTH_WAITING = 0.05

local queues = {}

local function key_of(name) return (workspaces.get_workspace_id() or "") .. "." .. name end

function methods:log(write, text, ...)
  local message = "[" .. (self.log_tag or "") .. "] queue " .. self.name .. ": " .. text
  return write(select("#", ...) > 0 and message:format(...) or message)
end
function methods:log_debug(...) self:log(kong.log.debug, ...) end
function methods:log_info(...) self:log(kong.log.info, ...) end
function methods:log_warn(...) self:log(kong.log.warn, ...) end
function methods:log_err(...) self:log(kong.log.err, ...) end

function methods:count() return self.back - self.front end

local function is_full(self)
  return self:count() >= self.max_entries
         or (self.max_bytes ~= nil and self.bytes_queued >= self.max_bytes)
end

local function too_large(self, entry)
  return self.max_bytes and type(entry) == "string" and #entry > self.max_bytes
end

local function exceeds_bytes(self, entry)
  return self.max_bytes and type(entry) == "string"
         and self.bytes_queued + #entry > self.max_bytes
end

-- Calls the handler until it has taken the entries or `max_retry_time` is over.
local function hand_over(self, entries)
  local began, tries = ngx.now(), 0
  while true do
    local ran, taken, err = pcall(self.handler, self.handler_conf, entries)
    if ran and taken == true then return end
    if not ran then err = taken end
    self:log_warn("handler could not process entries: %s",
                  tostring(err or "no error details returned by handler"))
    if not err then self:log_err("handler returned falsy value but no error information") end
    if ngx.now() - began > self.max_retry_time then
      self:log_err("could not send entries due to max_retry_time exceeded. " ..
                   "%d queue entries were lost", #entries)
      return
    end
    ngx.sleep(min(self.max_retry_delay, 2 ^ tries * self.initial_retry_delay))
    tries = tries + 1
  end
end

function methods:delete_frontmost_entry()
  local entry = self.entries[self.front]
  if self.max_bytes and type(entry) == "string" then
    self.bytes_queued = self.bytes_queued - #entry
  end
  self.entries[self.front] = nil
  self.front = self.front + 1
  if self.front == self.back then self.front, self.back = 1, 1 end
end

function methods:drop_oldest_entry()
  self.semaphore:wait(0)
  self:delete_frontmost_entry()
  self.already_dropped_entries = true
end

-- Waits for as many entries as a batch takes, no longer than the batch may; how many there are.
local function gather(self)
  local began, count = ngx.now(), 1
  while count < self.max_batch_size do
    local left = self.max_coalescing_delay - (ngx.now() - began)
    if left < WORTH_WAITING then break end
    if ngx.worker.exiting() then
      self.max_coalescing_delay, left = WORTH_WAITING, WORTH_WAITING
    end
    local there, problem = self.semaphore:wait(min(left, POLL))
    if there then
      count = count + 1
    elseif problem ~= "timeout" then
      self:log_err("could not wait for semaphore: %s", problem)
      break
    end
  end
  return count
end

-- Hands one batch over.
function methods:process_once()
  local there, problem = self.semaphore:wait(0)
  if not there then
    if problem ~= "timeout" then self:log_err("error waiting for semaphore: %s", problem) end
    return
  end
  local batch = {}
  for i = 1, gather(self) do
    batch[i] = self.entries[self.front]
    self:delete_frontmost_entry()
  end
  if self.already_dropped_entries then
    self:log_info("queue resumed processing")
    self.already_dropped_entries = false
  end
  hand_over(self, batch)
end

local function run(premature, self)
  -- What is queued when the worker ends is still handed over.
  while self:count() > 0 do self:process_once() end
  queues[self.key] = nil
  return premature
end

local function find_or_make(conf, handler, handler_conf)
  local key = key_of(conf.name)
  local queue = queues[key]
  if queue then
    queue.handler_conf = handler_conf
    return queue
  end
  queue = setmetatable({}, METATABLE)
  for name, value in pairs(conf) do queue[name] = value end
  queue.key, queue.handler, queue.handler_conf = key, handler, handler_conf
  queue.semaphore = semaphore.new()
  queue.bytes_queued, queue.entries, queue.front, queue.back = 0, {}, 1, 1
  queue.max_retry_delay = queue.max_retry_delay or 60
  queue.initial_retry_delay = queue.initial_retry_delay or 0.01
  queue.max_entries = queue.max_entries or 10000
  if queue.concurrency_limit == 1 then
    local ok, problem = ngx.timer.at(0, run, queue)
    if not ok then return nil, "failed to create timer: " .. tostring(problem) end
    queues[key] = queue
  end
  return queue
end

local function make_room(self, entry)
  if self:count() >= self.max_entries * WARN_FROM then
    if not self.warned then self:log_warn("queue at %s%% capacity", WARN_FROM * 100) end
    self.warned = true
  else
    self.warned = nil
  end
  if self:count() >= self.max_entries then
    self:log_err("queue full, dropping old entries until processing is successful again")
    self:drop_oldest_entry()
  end
  local dropped = 0
  while exceeds_bytes(self, entry) do
    self:drop_oldest_entry()
    dropped = dropped + 1
  end
  if dropped > 0 then
    self:log_err("byte capacity exceeded, %d queue entries were dropped", dropped)
  end
end

local function put(self, entry)
  if too_large(self, entry) then
    local text = "string to be queued is longer (%d bytes) than the queue's max_bytes (%d bytes)"
    text = text:format(#entry, self.max_bytes)
    self:log_err("%s", text)
    return nil, text
  end
  make_room(self, entry)
  if self.max_bytes and type(entry) ~= "string" then
    self:log_err("queuing non-string entry to a queue that has queue.max_bytes set, " ..
                 "capacity monitoring will not be correct")
  elseif self.max_bytes then
    self.bytes_queued = self.bytes_queued + #entry
  end
  self.entries[self.back] = entry
  self.back = self.back + 1
  self.semaphore:post()
  return true
end

-- Puts an entry into the queue of that configuration, which begins to work if it doesn't yet.
function Queue.enqueue(conf, handler, handler_conf, value)
  parameters.check(conf, handler, handler_conf)
  if value == nil then return nil, "entry must be a non-nil Lua value" end
  local queue, problem = find_or_make(conf, handler, handler_conf)
  if not queue then return nil, problem end
  if queue.concurrency_limit ~= -1 then return put(queue, value) end
  local ok, err = ngx.timer.at(0, function(premature)
    if not premature then hand_over(queue, { value }) end
  end)
  if not ok then return nil, "failed to create timer: " .. tostring(err) end
  return true
end

-- Whether there is a queue of that name now.
function Queue.exists(name) return queues[key_of(name)] ~= nil end

-- Whether it takes nothing more without dropping something.
function Queue.is_full(conf)
  local queue = queues[key_of(conf.name)]
  return queue ~= nil and is_full(queue)
end

-- Whether it takes this entry without dropping something.
function Queue.can_enqueue(conf, entry)
  local queue = queues[key_of(conf.name)]
  return not queue
         or not (is_full(queue) or too_large(queue, entry) or exceeds_bytes(queue, entry))
end

function Queue._exists(name)
  local queue = queues[key_of(name)]
  return queue and queue:count() > 0
end

return Queue
