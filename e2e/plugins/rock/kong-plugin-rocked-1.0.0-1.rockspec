package = "kong-plugin-rocked"
version = "1.0.0-1"
source = { url = "file://." }
description = { summary = "A plugin as luarocks installs it, with a module in C", license = "Apache-2.0" }
dependencies = { "lua >= 5.1" }
build = {
  type = "builtin",
  modules = {
    ["kong.plugins.rocked.handler"] = "kong/handler.lua",
    ["kong.plugins.rocked.schema"] = "kong/schema.lua",
    ["rocked.sum"] = "sum.c",
  },
}
