-- JSON in the manner of lua-cjson: its settings, its rules for arrays, its error texts.
-- One codec per `cjson.new()`; its settings are its own.

local encoder = require "silverback.json.encode"
local decoder = require "silverback.json.decode"
local native = require "silverback.native"

local type, error, pcall = type, error, pcall

local json = {}

-- Settings as lua-cjson has them from the start.
local function defaults()
  return {
    sparse_convert = false,
    sparse_ratio = 2,
    sparse_safe = 10,
    encode_depth = 1000,
    decode_depth = 1000,
    precision = 14,
    number_format = "%.14g",
    keep_buffer = true,
    encode_invalid = false,
    decode_invalid = true,
    empty_as_object = true,
    array_mt_on_decode = false,
    -- Unlike lua-cjson by itself, as Kong has it.
    escape_slash = false,
    indent = "",
    skip_unsupported = false,
    sort_keys = false,
  }
end

-- An on/off setting as lua-cjson takes it: a boolean, "on" or "off" (and words of its own).
local function switch(settings, name, words)
  return function(value)
    if value ~= nil then
      if type(value) == "boolean" then
        settings[name] = value
      elseif value == "on" then
        settings[name] = true
      elseif value == "off" then
        settings[name] = false
      elseif words and words[value] then
        settings[name] = words[value]
      else
        error("bad argument #1 (invalid option '" .. tostring(value) .. "')", 2)
      end
    end
    return settings[name]
  end
end

-- A whole number within bounds.
local function integer(settings, name, min, max, after)
  return function(value)
    if value ~= nil then
      value = tonumber(value)
      if not value or value < min or value > max then
        error("bad argument #1 (expected integer between " .. min .. " and " .. max .. ")", 2)
      end
      settings[name] = value
      if after then after(value) end
    end
    return settings[name]
  end
end

local MAX_INT = 2147483647

-- The functions that change settings.
local function setters(settings)
  local set = {
    encode_max_depth = integer(settings, "encode_depth", 1, MAX_INT),
    decode_max_depth = integer(settings, "decode_depth", 1, MAX_INT),
    encode_number_precision = integer(settings, "precision", 1, 16, function(digits)
      settings.number_format = "%." .. digits .. "g"
    end),
    encode_keep_buffer = switch(settings, "keep_buffer"),
    encode_invalid_numbers = switch(settings, "encode_invalid", { null = "null" }),
    decode_invalid_numbers = switch(settings, "decode_invalid"),
    encode_empty_table_as_object = switch(settings, "empty_as_object"),
    decode_array_with_array_mt = switch(settings, "array_mt_on_decode"),
    encode_escape_forward_slash = switch(settings, "escape_slash"),
    encode_skip_unsupported_value_types = switch(settings, "skip_unsupported"),
    encode_sort_keys = switch(settings, "sort_keys"),
  }
  function set.encode_indent(indent)
    if indent ~= nil then settings.indent = indent end
    return settings.indent
  end
  function set.encode_sparse_array(convert, ratio, safe)
    if convert ~= nil then settings.sparse_convert = convert and convert ~= "off" end
    if ratio ~= nil then settings.sparse_ratio = tonumber(ratio) end
    if safe ~= nil then settings.sparse_safe = tonumber(safe) end
    return settings.sparse_convert, settings.sparse_ratio, settings.sparse_safe
  end
  return set
end

local function position_free(ok, ...)
  if ok then return ... end
  return nil, (...)
end

-- A module of the kind; with `safe`, encode and decode give nil and a text for what is wrong.
function json.new(safe)
  local settings = defaults()
  local module = setters(settings)
  local encode = encoder.new(settings)
  local decode = decoder.new(settings)
  if safe then
    module.encode = function(...) return position_free(pcall(encode, ...)) end
    module.decode = function(...) return position_free(pcall(decode, ...)) end
  else
    module.encode, module.decode = encode, decode
  end
  module.new = function() return json.new(safe) end
  module.null = native.null
  module.empty_array = encoder.empty_array
  module.array_mt = encoder.array_mt
  module.empty_array_mt = encoder.empty_array_mt
  module._NAME = "cjson"
  module._VERSION = "2.1.0.14"
  return module
end

return json
