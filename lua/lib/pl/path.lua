-- Paths in the manner of Penlight's pl.path, for Unix.
local lfs = require "lfs"

local sub, find, match, gsub = string.sub, string.find, string.match, string.gsub

local path = { sep = "/", dirsep = ":", is_windows = false, currentdir = lfs.currentdir,
               mkdir = lfs.mkdir, rmdir = lfs.rmdir, dir = lfs.dir, attrib = lfs.attributes,
               link_attrib = lfs.symlinkattributes }

local function attribute(name, get)
  return function(file) return get(file, name) end
end
local mode = attribute("mode", lfs.attributes)
function path.isdir(file) return mode(file) == "directory" end
function path.isfile(file) return mode(file) == "file" end
function path.islink(file) return lfs.symlinkattributes(file, "mode") == "link" end
path.getsize = attribute("size", lfs.attributes)
path.getatime = attribute("access", lfs.attributes)
path.getmtime = attribute("modification", lfs.attributes)
path.getctime = attribute("change", lfs.attributes)
-- The path itself if there is something.
function path.exists(file)
  assert(type(file) == "string", "argument 1 expected a 'string' got a '" .. type(file) .. "'")
  return lfs.attributes(file, "mode") ~= nil and file or nil
end

function path.splitpath(file)
  local directory, name = match(file, "^(.*)/([^/]*)$")
  if not directory then return "", file end
  return directory, name
end
function path.splitext(file)
  local root, extension = match(file, "^(.*)(%.[^/.]*)$")
  if not root then return file, "" end
  return root, extension
end
function path.dirname(file) return (path.splitpath(file)) end
function path.basename(file) return (select(2, path.splitpath(file))) end
function path.extension(file) return (select(2, path.splitext(file))) end
function path.isabs(file) return sub(file, 1, 1) == "/" end

function path.join(first, second, ...)
  if select("#", ...) > 0 then return path.join(path.join(first, second), ...) end
  if path.isabs(second) then return second end
  if first ~= "" and sub(first, -1) ~= "/" then first = first .. "/" end
  return first .. second
end
function path.normpath(file)
  local absolute, parts = path.isabs(file), {}
  for part in file:gmatch("[^/]+") do
    if part == ".." and #parts > 0 and parts[#parts] ~= ".." then
      parts[#parts] = nil
    elseif part ~= "." and not (part == ".." and absolute) then
      parts[#parts + 1] = part
    end
  end
  local joined = (absolute and "/" or "") .. table.concat(parts, "/")
  return joined == "" and "." or joined
end
path.normcase = function(file) return file end
function path.abspath(file, from)
  file = gsub(file, "/+$", "")
  if not path.isabs(file) then file = path.join(from or path.currentdir(), file) end
  return path.normpath(file)
end
function path.relpath(file, from)
  local there, here = {}, {}
  for part in path.abspath(file):gmatch("[^/]+") do there[#there + 1] = part end
  for part in path.abspath(from or path.currentdir()):gmatch("[^/]+") do here[#here + 1] = part end
  local same = 0
  while there[same + 1] and there[same + 1] == here[same + 1] do same = same + 1 end
  local parts = {}
  for _ = same + 1, #here do parts[#parts + 1] = ".." end
  for i = same + 1, #there do parts[#parts + 1] = there[i] end
  return table.concat(parts, "/")
end
function path.expanduser(file)
  if sub(file, 1, 1) ~= "~" then return file end
  local home = os.getenv "HOME"
  if not home then return nil, "failed to expand '~' (HOME not set)" end
  return home .. sub(file, 2)
end
path.tmpname = os.tmpname
function path.common_prefix(first, second)
  local prefix = ""
  for part in first:gmatch("[^/]*/?") do
    if sub(second, #prefix + 1, #prefix + #part) ~= part then break end
    prefix = prefix .. part
  end
  return (gsub(prefix, "/$", ""))
end
function path.package_path(name)
  for template in package.path:gmatch("[^;]+") do
    local file = gsub(template, "%?", (gsub(name, "%.", "/")))
    if path.exists(file) then return file, true end
  end
  return nil, "cannot find module on path"
end

return path
