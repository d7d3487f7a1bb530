-- The groups of consumers, as the acl plugin knows them (kong/plugins/acl/groups.lua).
local EMPTY = require("kong.tools.table").EMPTY

local ipairs, type = ipairs, type

local groups = {}

-- A list of names that also finds each by itself.
local function named(names)
  local set = {}
  for i, name in ipairs(names) do
    set[i] = name
    set[name] = name
  end
  return set
end

-- What is made of a consumer's acls, as long as the cache has them.
local made = setmetatable({}, { __mode = "k" })

local function load(consumer)
  local rows = {}
  for row, problem in kong.db.acls:each_for_consumer(consumer) do
    if problem then return nil, problem end
    rows[#rows + 1] = row.group
  end
  return rows
end

local function rows_of(consumer_id)
  local key = kong.db.acls:cache_key(consumer_id)
  return kong.cache:get(key, nil, load, { id = consumer_id })
end

-- The names of a consumer's groups, as list and set; nil if it has none, or with what went wrong.
function groups.get_consumer_groups(consumer_id)
  local rows, problem = rows_of(consumer_id)
  if not rows then return nil, problem end
  if #rows == 0 then return nil end
  local found = made[rows]
  if not found then
    found = named(rows)
    made[rows] = found
  end
  return found
end

function groups.warmup_groups_cache(consumer_id)
  local _, problem = rows_of(consumer_id)
  if problem then return nil, problem end
end

-- Whether one of a list of names is among groups.
function groups.group_in_groups(names, of)
  for _, name in ipairs(names) do
    if of[name] then return true end
  end
end

function groups.consumer_in_groups(names, of)
  return groups.group_in_groups(names, of) or false
end

-- Who is known, by the consumer or its credential.
function groups.get_current_consumer_id()
  local consumer, credential = kong.client.get_consumer(), kong.client.get_credential()
  return (consumer or EMPTY).id or (credential or EMPTY).consumer_id
end

-- The groups that an authentication plugin has left without a consumer.
function groups.get_authenticated_groups()
  local found = kong.ctx.shared.authenticated_groups
  if type(found) ~= "table" then
    found = ngx.ctx.authenticated_groups
    if found == nil then return nil end
    if type(found) ~= "table" then
      kong.log.warn("invalid authenticated_groups, a table was expected")
      return nil
    end
  end
  return named(found)
end

return groups
