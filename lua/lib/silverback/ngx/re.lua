-- `ngx.re`: matches, iterators and replacements of what native `find` tells: for the whole match
-- and each group where it begins, where it ends, and its text.

local native = require("silverback.native").re

local find, names_of = native.find, native.names
local type, select, sub, find_text = type, select, string.sub, string.find
local tostring, tonumber, error = tostring, tonumber, error
local buffer = require "string.buffer"

local re = {}

-- The names of an expression's groups, kept; false for none.
local known_names, known_count = {}, 0

local function named(pattern, options)
  local key = options .. "\0" .. pattern
  local names = known_names[key]
  if names == nil then
    if known_count > 8192 then known_names, known_count = {}, 0 end
    names = false
    local all = { names_of("", pattern, options) }
    for i = 1, #all do
      if all[i] ~= "" then
        names = names or {}
        names[i] = all[i]
      end
    end
    known_names[key], known_count = names, known_count + 1
  end
  return names
end

local function check(subject, pattern, options)
  if type(subject) ~= "string" then subject = tostring(subject) end
  if type(pattern) ~= "string" then pattern = tostring(pattern) end
  return subject, pattern, options or ""
end

-- A table of captures, [0] the whole match.
local function captures(into, names, ...)
  local groups = select("#", ...) / 3
  for i = 0, groups - 1 do into[i] = (select(i * 3 + 3, ...)) end
  for i, name in pairs(names or {}) do
    -- Of groups of the same name the one that has matched counts.
    if into[i] or into[name] == nil then into[name] = into[i] or false end
  end
  return into
end

local function match(subject, pattern, options, ctx, into, ...)
  local from, to = ...
  if not from and to then return nil, to end
  if not from then return nil end
  if ctx then ctx.pos = to + 1 end
  return captures(into or {}, named(pattern, options), ...)
end

-- The captures of the first match; nil, and what is wrong if something is.
function re.match(subject, pattern, options, ctx, into)
  subject, pattern, options = check(subject, pattern, options)
  local start = ctx and ctx.pos or 1
  return match(subject, pattern, options, ctx, into, find(subject, pattern, options, start))
end

local function found(ctx, nth, ...)
  local from, to = ...
  if not from and to then return nil, nil, to end
  if not from then return nil end
  if ctx then ctx.pos = to + 1 end
  if nth == 0 then return from, to end
  local first = nth * 3 + 1
  if first > select("#", ...) then return nil, nil, "nth out of bound" end
  from, to = select(first, ...)
  if not from then return nil, nil end
  return from, to
end

-- Where the first match (or its nth group) begins and ends.
function re.find(subject, pattern, options, ctx, nth)
  subject, pattern, options = check(subject, pattern, options)
  return found(ctx, nth or 0, find(subject, pattern, options, ctx and ctx.pos or 1))
end

-- Goes through all matches.
function re.gmatch(subject, pattern, options)
  subject, pattern, options = check(subject, pattern, options)
  local _, problem = find("", pattern, options)
  if problem and type(problem) == "string" then return nil, problem end
  local at = 1
  local function step(...)
    local from, to = ...
    if not from then
      at = nil
      return nil, to
    end
    -- An empty match goes on with the next character.
    at = to < from and to + 2 or to + 1
    return captures({}, named(pattern, options), ...)
  end
  return function()
    if not at or at > #subject + 1 then return nil end
    return step(find(subject, pattern, options, at))
  end
end

-- A replacement taken apart: texts, and the groups (in tables) that stand between them.
local function parse(template)
  local parts, at = {}, 1
  while true do
    local from = find_text(template, "$", at, true)
    parts[#parts + 1] = sub(template, at, from and from - 1)
    if not from then return parts end
    local name, after = template:match("^{([%w_]+)}()", from + 1)
    if not name then name, after = template:match("^(%d+)()", from + 1) end
    if name then
      parts[#parts + 1] = { tonumber(name) or name }
    elseif sub(template, from + 1, from + 1) == "$" then
      parts[#parts + 1], after = "$", from + 2
    elseif sub(template, from + 1, from + 1) == "{" then
      error('the closing brace in "' .. template .. '" variable is missing', 0)
    else
      error('invalid capturing variable name found in "' .. template .. '"', 0)
    end
    at = after
  end
end

-- What makes the text that a match is replaced by.
local function replacement(replace)
  if type(replace) == "function" then
    return function(groups) return tostring(replace(groups)) end
  end
  local parts = parse(tostring(replace))
  if #parts == 1 then return function() return parts[1] end end
  return function(groups)
    local filled = {}
    for i = 1, #parts do
      local part = parts[i]
      filled[i] = type(part) == "table" and (groups[part[1]] or "") or part
    end
    return table.concat(filled)
  end
end

local function substitute(subject, pattern, replace, options, global)
  subject, pattern, options = check(subject, pattern, options)
  local made = replacement(replace)
  local out, at, count = buffer.new(#subject), 1, 0
  local wrong
  local function step(copied, ...)
    local from, to = ...
    if not from then
      wrong = to
      return nil
    end
    out:put(sub(subject, copied, from - 1), made(captures({}, named(pattern, options), ...)))
    count = count + 1
    return from, to
  end
  local copied = 1
  while at <= #subject + 1 do
    local from, to = step(copied, find(subject, pattern, options, at))
    if wrong then return nil, nil, wrong end
    if not from then break end
    copied = to + 1
    at = to < from and to + 2 or to + 1
    if not global then break end
  end
  if count == 0 then return subject, 0 end
  out:put(sub(subject, copied))
  return out:tostring(), count
end

local function guarded(global)
  return function(subject, pattern, replace, options)
    if type(replace) == "function" then
      return substitute(subject, pattern, replace, options, global)
    end
    local ok, text, count, problem = pcall(substitute, subject, pattern, replace, options, global)
    if not ok then return nil, nil, text end
    if problem then return text, count, problem end
    return text, count
  end
end

-- The text with the first match replaced, and how many were.
re.sub = guarded(false)

-- The same for all matches.
re.gsub = guarded(true)

return re
