-- Bodies of type multipart/form-data, in the manner of lua-multipart.

local find, match, sub, lower, concat = string.find, string.match, string.sub, string.lower,
                                       table.concat

local multipart = {}
local methods = {}
methods.__index = methods

local function boundary_of(content_type)
  local boundary = match(content_type, "boundary=(.-)$")
  if not boundary then return nil end
  return match(boundary, '^"(.-)"') or match(boundary, "^[^;%s]*")
end

local function parse_part(text)
  local stop, after = find(text, "\r?\n\r?\n")
  if not stop then return nil end
  local part = { headers = {}, value = sub(text, after + 1) }
  for line in sub(text, 1, stop - 1):gmatch "[^\r\n]+" do
    part.headers[#part.headers + 1] = line
    if find(lower(line), "^content%-disposition:") then
      part.name = match(line, '[;%s]name="([^"]*)"') or match(line, "[;%s]name=([^;%s]*)")
    end
  end
  return part.name and part
end

local function decode(body, boundary)
  local parts, at = {}, 1
  local mark = "--" .. boundary
  local from, to = find(body, mark, 1, true)
  while from do
    at = to + 1
    from, to = find(body, mark, at, true)
    if not from then break end
    -- The line's end behind one mark and that before the next belong to neither part.
    local text = sub(body, at, from - 1):gsub("^\r?\n", ""):gsub("\r?\n$", "")
    parts[#parts + 1] = parse_part(text)
  end
  return parts
end

-- The first part of a name: its value and headers.
function methods:get(name)
  for _, part in ipairs(self.parts) do
    if part.name == name then return part end
  end
end

function methods:get_all()
  local all = {}
  for _, part in ipairs(self.parts) do all[part.name] = part.value end
  return all
end

function methods:get_all_with_arrays()
  local all = {}
  for _, part in ipairs(self.parts) do
    all[part.name] = all[part.name] or {}
    table.insert(all[part.name], part.value)
  end
  return all
end

function methods:set_simple(name, value, filename, content_type)
  local line = 'Content-Disposition: form-data; name="' .. name .. '"'
  if filename then line = line .. '; filename="' .. filename .. '"' end
  local headers = { line }
  if content_type then headers[2] = "content-type: " .. content_type end
  local there = self:get(name)
  if there then
    there.value, there.headers = value, headers
  else
    self.parts[#self.parts + 1] = { name = name, value = value, headers = headers }
  end
end

function methods:delete(name)
  for i = #self.parts, 1, -1 do
    if self.parts[i].name == name then table.remove(self.parts, i) end
  end
end

-- The body again.
function methods:tostring()
  local out = {}
  for _, part in ipairs(self.parts) do
    out[#out + 1] = "--" .. self.boundary
    for _, line in ipairs(part.headers) do out[#out + 1] = line end
    out[#out + 1] = ""
    out[#out + 1] = tostring(part.value)
  end
  out[#out + 1] = "--" .. self.boundary .. "--"
  return concat(out, "\r\n")
end

return setmetatable(multipart, {
  __call = function(_, body, content_type)
    local boundary = boundary_of(content_type or "")
    local parts = boundary and body and decode(body, boundary) or {}
    return setmetatable({ boundary = boundary or "", parts = parts }, methods)
  end,
})
