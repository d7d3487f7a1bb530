-- A handler in every phase that requests without a response phase have. What ran is kept in a shared
-- dictionary; access gives it to who asks for it.
local Modern = { PRIORITY = 900, VERSION = "1.2.3" }

local ran = ngx.shared.kong

local function note(phase, detail)
  local text = phase .. (detail and "=" .. detail or "")
  ran:set("modern", (ran:get("modern") or "") .. text .. " ")
end

function Modern:init_worker() note("init_worker") end

function Modern:configure(configs)
  local labels = {}
  for i, config in ipairs(configs or {}) do labels[i] = config.label end
  note("configure", table.concat(labels, ","))
end

function Modern:certificate() note("certificate") end
function Modern:rewrite(conf) note("rewrite", conf.label) end

-- In the style of functions.
Modern.access = function(self, conf)
  if kong.request.get_query_arg("ran") then
    local text = ran:get("modern")
    ran:delete("modern")
    return kong.response.exit(200, text)
  end
  note("access", conf.nested.list[2] .. conf.nested.count)
  kong.ctx.plugin.word = "kept"
end

function Modern:header_filter()
  note("header_filter", kong.ctx.plugin.word)
  kong.response.clear_header("Content-Length")
end

function Modern:body_filter()
  local body = kong.response.get_raw_body()
  if body then
    note("body_filter")
    kong.response.set_raw_body("<" .. body .. ">")
  end
end

function Modern:log()
  note("log", (kong.ctx.plugin.word or "") .. kong.log.serialize().response.status)
end

return Modern
