-- Lets in who shows a badge, and counts how often.
local badges = { PRIORITY = 1000, VERSION = "1.0" }

local function load(code) return kong.db.badges:select_by_any_code(code) end

function badges:access(conf)
  local code = kong.request.get_header "x-badge"
  if not code then return kong.response.exit(401, { message = "show a badge" }) end
  local badge, err = kong.cache:get("badges:" .. code, nil, load, code)
  if err then return kong.response.exit(500, { message = err }) end
  if not badge then return kong.response.exit(403, { message = "no such badge" }) end
  if conf.counts then
    badge, err = kong.db.badges:update({ id = badge.id }, { uses = badge.uses + 1 })
    if not badge then return kong.response.exit(503, { message = err }) end
  end
  kong.service.request.set_header("X-Badge-Uses", badge.uses)
end

return badges
