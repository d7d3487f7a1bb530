-- LuaSocket's inner part, which others build on.
return require "socket"
