-- Files in the manner of Penlight's pl.file.
local utils = require "pl.utils"
local path = require "pl.path"

local function copy(from, to)
  local content, problem = utils.readfile(from, true)
  if not content then return false, problem end
  return utils.writefile(to, content, true)
end

return {
  read = utils.readfile,
  write = utils.writefile,
  copy = copy,
  move = os.rename,
  delete = os.remove,
  access_time = path.getatime,
  creation_time = path.getctime,
  modified_time = path.getmtime,
}
