-- Splitting by regular expressions (lua-resty-core, ngx.re).

local sub, type = string.sub, type

local re = { version = "0.1.28", opt = function() end }

-- What lies between the groups of a match.
local function put_groups(into, match)
  for i = 1, #match do
    if match[i] then into[#into + 1] = match[i] end
  end
end

-- The parts of a text between matches, and what the groups of those have matched; at most `max`
-- parts. `ctx.pos` says where to begin; `into` takes the result.
function re.split(subject, pattern, options, ctx, max, into)
  local parts = {}
  max = max or 0
  local at = ctx and ctx.pos or 1
  local search = { pos = at }
  while max <= 0 or #parts < max - 1 do
    local match, problem = ngx.re.match(subject, pattern, options, search)
    if problem then return nil, problem end
    if not match then break end
    local to = search.pos - 1
    local from = to - #match[0] + 1
    if #match[0] == 0 then
      -- An empty match parts characters.
      if from > #subject then break end
      if from == at then
        search.pos = from + 1
        from, to = from + 1, from
        if from > #subject then break end
      end
    end
    parts[#parts + 1] = sub(subject, at, from - 1)
    put_groups(parts, match)
    at = to + 1
    search.pos = at
    if at > #subject + 1 then break end
  end
  parts[#parts + 1] = sub(subject, at)
  -- As in OpenResty, an empty last part is none.
  if parts[#parts] == "" and #parts > 1 and max <= 0 then parts[#parts] = nil end
  if type(into) ~= "table" then return parts end
  for i = 1, #parts do into[i] = parts[i] end
  into[#parts + 1] = nil
  return into
end

return re
