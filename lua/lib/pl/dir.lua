-- Directories in the manner of Penlight's pl.dir.
local path = require "pl.path"
local List = require "pl.List"

local dir = { rmdir = path.rmdir }

-- A file name pattern ("*.lua") as a Lua pattern.
function dir.filemask(mask)
  mask = mask:gsub("[%-%.%+%[%]%(%)%$%^%%]", "%%%0")
  return "^" .. mask:gsub("%*", ".*"):gsub("%?", ".") .. "$"
end
function dir.fnmatch(name, mask) return path.basename(name):find(dir.filemask(mask)) ~= nil end
function dir.filter(names, mask)
  return List(names):filter(function(name) return dir.fnmatch(name, mask) end)
end

local function entries(directory, keep)
  local found = List()
  for name in path.dir(directory) do
    local full = path.join(directory, name)
    if name ~= "." and name ~= ".." and keep(full, name) then found:append(full) end
  end
  return found
end
function dir.getfiles(directory, mask)
  return entries(directory or ".", function(full, name)
    return path.isfile(full) and (not mask or dir.fnmatch(name, mask))
  end)
end
function dir.getdirectories(directory) return entries(directory or ".", path.isdir) end
function dir.getallfiles(directory, mask)
  local found = dir.getfiles(directory, mask)
  for _, inner in ipairs(dir.getdirectories(directory)) do
    found:extend(dir.getallfiles(inner, mask))
  end
  return found
end
function dir.makepath(directory)
  if directory == "" or path.isdir(directory) then return true end
  local parent = path.dirname(directory)
  if parent ~= "" then
    local ok, problem = dir.makepath(parent)
    if not ok then return nil, problem end
  end
  return path.mkdir(directory)
end
function dir.rmtree(directory)
  if path.islink(directory) then return false, "will not follow symlink" end
  for _, inner in ipairs(dir.getdirectories(directory)) do
    local ok, problem = dir.rmtree(inner)
    if not ok then return nil, problem end
  end
  for _, file in ipairs(entries(directory, function() return true end)) do os.remove(file) end
  return path.rmdir(directory)
end

return dir
