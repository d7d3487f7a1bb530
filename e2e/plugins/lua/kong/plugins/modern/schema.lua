local typedefs = require "kong.db.schema.typedefs"

return {
  name = "modern",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { label = { type = "string", required = true, match = "^%l+$" } },
        { host = typedefs.host },
        { nested = {
          type = "record",
          required = true,
          fields = {
            { list = { type = "array", required = true, default = { "a", "b" },
                       elements = { type = "string" } } },
            { count = { type = "integer", default = 3, between = { 1, 5 } } },
          },
        } },
        { even = { type = "number", custom_validator = function(number)
          return number % 2 == 0 or nil, "must be even"
        end } },
      },
      entity_checks = { { mutually_exclusive = { "host", "even" } } },
    } },
  },
}
