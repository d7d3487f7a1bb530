-- The encodings of mail as filters for ltn12, in the manner of LuaSocket's mime.

local core = require("mime.core")
local cycle = require("ltn12").filter.cycle

local mime = {}
for name, value in pairs(core) do mime[name] = value end

-- Names to functions that make a filter; without a name, the default's.
local function chooser(kinds)
  return function(name, a, b)
    if type(name) ~= "string" then
      name, a, b = "default", name, a
    end
    local make = kinds[name]
    if not make then
      error("unknown key (" .. tostring(name) .. ")", 3)
    end
    return make(a, b)
  end
end

mime.encodet = {
  base64 = function() return cycle(core.b64, "") end,
  ["quoted-printable"] = function(mode)
    return cycle(core.qp, "", mode == "binary" and "=0D=0A" or "\r\n")
  end,
}
mime.decodet = {
  base64 = function() return cycle(core.unb64, "") end,
  ["quoted-printable"] = function() return cycle(core.unqp, "") end,
}
local function text(length)
  length = length or 76
  return cycle(core.wrp, length, length)
end
mime.wrapt = {
  text = text, base64 = text, default = text,
  ["quoted-printable"] = function() return cycle(core.qpwrp, 76, 76) end,
}

mime.encode = chooser(mime.encodet)
mime.decode = chooser(mime.decodet)
mime.wrap = chooser(mime.wrapt)
function mime.normalize(marker) return cycle(core.eol, 0, marker) end
function mime.stuff() return cycle(core.dot, 2) end

return mime
