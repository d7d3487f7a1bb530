-- What the balancer phase of OpenResty has. Plugins have no handler there, in Kong as here: they
-- choose by kong.service.set_target and its kin.

local function disabled() error("API disabled in the current context", 2) end

return {
  version = "0.1.28",
  set_current_peer = disabled,
  set_more_tries = disabled,
  get_last_failure = disabled,
  set_timeouts = disabled,
  enable_keepalive = disabled,
  set_upstream_tls = disabled,
  recreate_request = disabled,
  bind_to_local_addr = disabled,
}
