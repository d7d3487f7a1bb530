local typedefs = require "kong.db.schema.typedefs"

return {
  {
    name = "badge_lists",
    primary_key = { "id" },
    endpoint_key = "name",
    admin_api_name = "badge-lists",
    workspaceable = true,
    fields = {
      { id = typedefs.uuid },
      { created_at = typedefs.auto_timestamp_s },
      { name = { type = "string", required = true, unique = true } },
      { floor = { type = "integer", unique = true } },
      { from = { type = "string" } },
      { till = { type = "string" } },
      { tags = typedefs.tags },
    },
    entity_checks = { { mutually_required = { "from", "till" } } },
  },
  {
    name = "badges",
    dao = "kong.plugins.badges.daos.badges",
    primary_key = { "id" },
    endpoint_key = "code",
    cache_key = { "consumer", "list" },
    admin_api_nested_name = "badge",
    workspaceable = true,
    ttl = true,
    fields = {
      { id = typedefs.uuid },
      { created_at = typedefs.auto_timestamp_s },
      { consumer = { type = "foreign", reference = "consumers", required = true,
                     on_delete = "cascade" } },
      { list = { type = "foreign", reference = "badge_lists", required = true,
                 on_delete = "cascade" } },
      { code = { type = "string", unique = true, auto = true,
                 custom_validator = function(code)
                   if #code < 3 then return nil, "too short to be a badge" end
                   return true
                 end } },
      { uses = { type = "integer", default = 0 } },
      { pin = { type = "string", encrypted = true } },
      { tags = typedefs.tags },
    },
    transformations = {
      {
        input = { "pin" },
        on_write = function(pin) return { pin = ngx.md5(pin) } end,
        on_read = function(pin) return { pin = "md5:" .. pin } end,
      },
    },
  },
}
