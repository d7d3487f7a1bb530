return {
  name = "lua-hello",
  fields = {
    { config = { type = "record", fields = { { message = { type = "string" } } } } },
  },
}
