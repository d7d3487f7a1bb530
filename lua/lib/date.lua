-- Dates, in the manner of LuaDate, as far as plugins use it: reading texts, and writing them.
local timetable = require "luatz.timetable"

local date = {}
local methods = {}
methods.__index = methods

local MONTHS = { jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9,
                 oct = 10, nov = 11, dec = 12 }

local function from_seconds(seconds) return setmetatable({ seconds = seconds }, methods) end

local function parse(text)
  local year, month, day, rest = text:match "^%s*(%d%d%d%d)%-(%d%d?)%-(%d%d?)(.*)$"
  if year then
    local hour, min, sec, zone = rest:match "^[T%s]+(%d%d?):(%d%d):?(%d*%.?%d*)(.*)$"
    local seconds = timetable.timestamp(tonumber(year), tonumber(month), tonumber(day),
                                        tonumber(hour) or 0, tonumber(min) or 0,
                                        tonumber(sec) or 0)
    local sign, zone_hour, zone_min = (zone or ""):match "([+-])(%d%d):?(%d%d)"
    if sign then
      local offset = tonumber(zone_hour) * 3600 + tonumber(zone_min) * 60
      seconds = sign == "+" and seconds - offset or seconds + offset
    end
    return seconds
  end
  local d, name, y, hour, min, sec =
    text:match "(%d%d?)[%s-](%a%a%a)%a*[%s-](%d%d%d%d)%s+(%d%d):(%d%d):(%d%d)"
  if d and MONTHS[name:lower()] then
    return timetable.timestamp(tonumber(y), MONTHS[name:lower()], tonumber(d), tonumber(hour),
                               tonumber(min), tonumber(sec))
  end
end

-- By strftime's letters; "${iso}" and "${http}" too.
function methods:fmt(format)
  local named = { ["${iso}"] = "%Y-%m-%dT%H:%M:%S", ["${http}"] = "%a, %d %b %Y %H:%M:%S GMT" }
  return os.date("!" .. (named[format] or format), math.floor(self.seconds))
end
function methods:toutc() return self end
function methods:addseconds(count)
  self.seconds = self.seconds + count
  return self
end
function methods.__sub(a, b)
  local seconds = a.seconds - b.seconds
  return { spanseconds = function() return seconds end, seconds = seconds }
end
function methods.__lt(a, b) return a.seconds < b.seconds end
function methods.__eq(a, b) return a.seconds == b.seconds end
function methods.__tostring(self) return self:fmt "%a, %d %b %Y %H:%M:%S" end

function date.epoch() return from_seconds(0) end

return setmetatable(date, {
  __call = function(_, value)
    if value == nil or value == true or value == false then return from_seconds(ngx.now()) end
    if type(value) == "number" then return from_seconds(value) end
    local seconds = type(value) == "string" and parse(value)
    if not seconds then return nil end
    return from_seconds(seconds)
  end,
})
