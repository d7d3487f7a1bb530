-- Headers of rate limits that wait for the answer (kong/pdk/private/rate_limiting.lua).
local KEY = "__rate_limiting_context__"

local limits = {}

local function check(name, value, position, func, kinds, text)
  if not kinds[type(value)] then
    error(("arg #%d `%s` for function `%s` must be a %s, got %s"):format(position, name, func, text,
                                                                       type(value)), 3)
  end
end

local STRING, STRING_OR_NUMBER = { string = true }, { string = true, number = true }

-- Keeps a header for the answer.
function limits.store_response_header(ctx, key, value)
  check("key", key, 2, "store_response_header", STRING, "string")
  check("value", value, 3, "store_response_header", STRING_OR_NUMBER, "string or a number")
  ctx[KEY] = ctx[KEY] or {}
  ctx[KEY][key] = value
end

-- A header that was kept.
function limits.get_stored_response_header(ctx, key)
  check("key", key, 2, "get_stored_response_header", STRING, "string")
  return ctx[KEY] and ctx[KEY][key]
end

-- Sets what was kept.
function limits.apply_response_headers(ctx)
  for key, value in pairs(ctx[KEY] or {}) do ngx.header[key] = tostring(value) end
end

return limits
