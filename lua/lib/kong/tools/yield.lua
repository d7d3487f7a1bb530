-- Letting others run in long loops (kong/tools/yield.lua).
local tools = {}

local YIELDABLE = {
  rewrite = true, server_rewrite = true, access = true, content = true, timer = true,
  ssl_client_hello = true, ssl_certificate = true, ssl_session_fetch = true, preread = true,
}

-- Whether a handler of this phase (without one: of the running phase) may wait.
function tools.in_yieldable_phase(phase) return YIELDABLE[phase or ngx.get_phase()] end

local EVERY = 1000
local left = EVERY

-- Lets others run; in a loop only every thousandth time.
function tools.yield(in_loop, phase)
  if not tools.in_yieldable_phase(phase) then return end
  if in_loop then
    left = left - 1
    if left > 0 then return end
    left = EVERY
  end
  ngx.sleep(0)
end

return tools
