-- The operating system's numbers, in the manner of lua_system_constants (Linux).
local function constant(value) return function() return value end end
return {
  O_RDONLY = constant(0), O_WRONLY = constant(1), O_RDWR = constant(2), O_CREAT = constant(64),
  O_TRUNC = constant(512), O_APPEND = constant(1024),
  S_IRUSR = constant(256), S_IWUSR = constant(128), S_IXUSR = constant(64), S_IRGRP = constant(32),
  S_IWGRP = constant(16), S_IXGRP = constant(8), S_IROTH = constant(4), S_IWOTH = constant(2),
  S_IXOTH = constant(1), ENOENT = constant(2), EACCES = constant(13), EEXIST = constant(17),
}
