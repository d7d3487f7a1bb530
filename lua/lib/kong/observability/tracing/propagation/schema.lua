-- How plugins that trace say which headers carry a trace.

local Schema = require "kong.db.schema"

local EXTRACTED = { "w3c", "b3", "jaeger", "ot", "datadog", "aws", "gcp", "instana" }
local INJECTED = { "w3c", "b3", "b3-single", "jaeger", "ot", "datadog", "aws", "gcp", "instana" }
local OR_PRESERVED = { "preserve", unpack(INJECTED) }

return Schema.define {
  type = "record",
  fields = {
    { extract = { type = "array", elements = { type = "string", one_of = EXTRACTED } } },
    { clear = { type = "array", elements = {
      type = "string", custom_validator = require("kong.tools.http").validate_header_name } } },
    { inject = { type = "array", elements = { type = "string", one_of = OR_PRESERVED } } },
    { default_format = { type = "string", one_of = INJECTED, required = true } },
  },
}
