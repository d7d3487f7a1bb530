-- The first plugin of many, in the style of Kong 0.14: gives a header of the request back.
local BasePlugin = require "kong.plugins.base_plugin"

local HeaderEcho = BasePlugin:extend()
HeaderEcho.PRIORITY = 1000
HeaderEcho.VERSION = "0.1.0"

function HeaderEcho:new()
  HeaderEcho.super.new(self, "kong-plugin-header-echo")
end

function HeaderEcho:access(conf)
  HeaderEcho.super.access(self)
  self.echo = kong.request.get_header(conf.requestHeader)
end

function HeaderEcho:header_filter(conf)
  HeaderEcho.super.header_filter(self)
  kong.response.set_header(conf.responseHeader, self.echo)
end

return HeaderEcho
