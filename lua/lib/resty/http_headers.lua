-- Headers that are found by any spelling of their name, in the manner of lua-resty-http.
local lower, gsub, rawget, rawset = string.lower, string.gsub, rawget, rawset

local function plain(name) return (gsub(lower(name), "_", "-")) end

local headers = { _VERSION = "0.17.2" }

function headers.new()
  -- The spelling that each header was set with.
  local spelled = {}
  return setmetatable({}, {
    normalised = spelled,
    __index = function(t, name)
      if type(name) ~= "string" then return nil end
      return rawget(t, spelled[plain(name)])
    end,
    __newindex = function(t, name, value)
      local known = spelled[plain(name)]
      if not known then
        spelled[plain(name)] = name
        known = name
      end
      rawset(t, known, value)
    end,
  })
end

return headers
