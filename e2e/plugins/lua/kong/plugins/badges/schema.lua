return {
  name = "badges",
  fields = {
    { config = { type = "record", fields = { { counts = { type = "boolean", default = false } } } } },
  },
}
