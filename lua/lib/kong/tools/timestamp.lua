-- Timestamps of the periods that counters are kept for (kong/tools/timestamp.lua).

local luatz = require "luatz"
local tablex = require "pl.tablex"

local floor = math.floor

local tools = {
  timestamp_table_fields = tablex.readonly { "second", "minute", "hour", "day", "month", "year" },
}

-- The time in milliseconds since 1970, to the second.
function tools.get_utc() return floor(luatz.time()) * 1000 end

-- The same to the millisecond.
function tools.get_utc_ms() return luatz.time() * 1000 end

-- What is greater than this is meant in milliseconds: the year 20000.
local MILLISECONDS_FROM = luatz.timetable.new(20000, 1, 1, 0, 0, 0):timestamp()

-- The parts of a time in seconds or milliseconds since 1970; of now without one.
function tools.get_timetable(now)
  local time = now or tools.get_utc()
  if time > MILLISECONDS_FROM then time = time / 1000 end
  return luatz.timetable.new_from_timestamp(time)
end

-- When the second, minute, hour, day, month and year of a time began, milliseconds since 1970.
function tools.get_timestamps(now)
  local parts = tools.get_timetable(now)
  local stamps = {}
  local function note(period) stamps[period] = parts:timestamp() * 1000 end
  parts.sec = floor(parts.sec)
  note "second"
  parts.sec = 0
  note "minute"
  parts.min = 0
  note "hour"
  parts.hour = 0
  note "day"
  parts.day = 1
  note "month"
  parts.month = 1
  note "year"
  return stamps
end

return tools
