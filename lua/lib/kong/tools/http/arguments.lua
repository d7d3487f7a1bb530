-- Query arguments with tables in them: "a[1]=x&b.c=y".

local url = require "socket.url"

local type, tostring, tonumber, pairs, ipairs = type, tostring, tonumber, pairs, ipairs
local sort, concat = table.sort, table.concat

local arguments = {}

-- Numbers before texts, each in their order.
local function before(a, b)
  if type(a) == type(b) then return a < b end
  return type(a) == "number"
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  sort(keys, before)
  return keys
end

local function pair(key, value, raw)
  if not raw then key = url.escape(tostring(key)) end
  if value == nil then return key end
  return key .. "=" .. (raw and value or url.escape(value))
end

local function put_table(key, t, raw, no_indexes, into)
  local arrays = getmetatable(t) == require("cjson").array_mt
  for _, name in ipairs(sorted_keys(t)) do
    local value, full = t[name], nil
    if type(name) == "number" or arrays then
      full = no_indexes and key .. "[]" or ("%s[%s]"):format(key, name)
    else
      full = ("%s.%s"):format(key, name)
    end
    if type(value) == "table" then
      put_table(full, value, raw, no_indexes, into)
    else
      into[#into + 1] = pair(full, value == ngx.null and "" or tostring(value), raw)
    end
  end
end

-- A query string, without its question mark, in the keys' order.
function arguments.encode_args(args, raw, no_array_indexes)
  local into = {}
  for _, key in ipairs(sorted_keys(args)) do
    local value = args[key]
    if type(value) == "table" then
      put_table(key, value, raw, no_array_indexes, into)
    elseif value == ngx.null then
      into[#into + 1] = pair(key, "", raw)
    else
      value = tostring(value)
      into[#into + 1] = value == "" and key or pair(key, value, raw)
    end
  end
  return concat(into, "&")
end

-- The list that a table with the keys "1", "2"... stands for; nil if it stands for none.
local function as_list(t)
  local list, count = {}, 0
  for key, value in pairs(t) do
    local position = tonumber(key)
    if not position then return nil end
    list[position] = value
    count = count + 1
  end
  return #list == count and list or nil
end

local WORDS = { ["true"] = true, ["false"] = false }

-- What a form's fields mean: "" is null, "true" and "false" are booleans, numbered fields a list.
function arguments.decode_args(args)
  local decoded = {}
  for key, value in pairs(args) do
    if type(value) == "table" then
      value = as_list(value) or value
    elseif value == "" then
      value = ngx.null
    elseif WORDS[value] ~= nil then
      value = WORDS[value]
    end
    decoded[key] = value
  end
  return decoded
end

return arguments
