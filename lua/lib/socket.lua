-- The little of LuaSocket that plugins use beside cosockets: clocks. Blocking sockets would stop
-- the whole worker; `tcp` and `udp` are those of ngx.socket.
return {
  _VERSION = "LuaSocket 3.0 (cosockets)",
  gettime = function() return require("luatz.gettime").gettime() end,
  sleep = function(seconds) ngx.sleep(seconds) end,
  tcp = function() return ngx.socket.tcp() end,
  udp = function() return ngx.socket.udp() end,
}
