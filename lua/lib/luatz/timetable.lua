-- A time in UTC, taken apart.

local floor, format = math.floor, string.format

local timetable = {}
local methods = {}
local metatable = { __index = methods }

-- Days since 1970 of a day in the Gregorian calendar; months and days may run over.
local function days_from(year, month, day)
  year = year + floor((month - 1) / 12)
  month = (month - 1) % 12 + 1
  if month <= 2 then year = year - 1 end
  local era = floor(year / 400)
  local of_era = year - era * 400
  local of_year = floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
end

-- Year, month and day of days since 1970.
local function date_of(days)
  days = days + 719468
  local era = floor(days / 146097)
  local of_era = days - era * 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524)
                      - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  local day = of_year - floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  return year + era * 400 + (month <= 2 and 1 or 0), month, day
end

-- A time of these parts.
function timetable.new(year, month, day, hour, min, sec, yday, wday)
  return setmetatable({ year = year, month = month, day = day, hour = hour, min = min, sec = sec,
                        yday = yday, wday = wday }, metatable)
end

-- The time that many seconds after 1970.
function timetable.new_from_timestamp(time)
  if type(time) ~= "number" then
    error("bad argument #1 to 'new_from_timestamp' (number expected)")
  end
  local days = floor(time / 86400)
  local rest = time - days * 86400
  local year, month, day = date_of(days)
  local yday = days - days_from(year, 1, 1) + 1
  return timetable.new(year, month, day, floor(rest / 3600), floor(rest / 60) % 60, rest % 60,
                       yday, (days + 4) % 7 + 1)
end

-- Seconds since 1970.
function timetable.timestamp(year, month, day, hour, min, sec)
  return days_from(year, month, day) * 86400 + hour * 3600 + min * 60 + sec
end

-- Seconds since 1970.
function methods:timestamp()
  return timetable.timestamp(self.year, self.month, self.day, self.hour or 12, self.min or 0,
                             self.sec or 0)
end

-- Parts that run over are carried.
function methods:normalise()
  local fresh = timetable.new_from_timestamp(self:timestamp())
  for key, value in pairs(fresh) do self[key] = value end
  return self
end
methods.normalize = methods.normalise

-- A copy.
function methods:clone()
  return timetable.new(self.year, self.month, self.day, self.hour, self.min, self.sec, self.yday,
                       self.wday)
end

-- As RFC 3339 writes it.
function methods:rfc_3339()
  local whole = floor(self.sec)
  return format("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", self.year, self.month, self.day, self.hour,
                self.min, whole, (self.sec - whole) * 1000)
end

metatable.__tostring = methods.rfc_3339
metatable.__eq = function(a, b) return a:timestamp() == b:timestamp() end
metatable.__lt = function(a, b) return a:timestamp() < b:timestamp() end

return timetable
