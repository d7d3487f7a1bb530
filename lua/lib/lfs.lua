-- The file system, in the manner of LuaFileSystem, as far as plugins use it.
local native = require "silverback.native"

local function attributes(link)
  return function(path, what)
    local facts, problem = native.stat(path, link)
    if not facts then return nil, problem, 2 end
    if type(what) == "string" then return facts[what] end
    if type(what) ~= "table" then return facts end
    for key, value in pairs(facts) do what[key] = value end
    return what
  end
end

return {
  _VERSION = "LuaFileSystem 1.8.0",
  attributes = attributes(false),
  symlinkattributes = attributes(true),
  currentdir = native.currentdir,
  mkdir = native.mkdir,
  rmdir = native.rmdir,
  dir = function(path)
    local names, problem = native.list(path)
    if not names then error(problem, 2) end
    local i = 0
    return function()
      i = i + 1
      return names[i]
    end
  end,
}
