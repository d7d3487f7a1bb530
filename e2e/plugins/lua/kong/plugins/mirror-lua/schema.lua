return {
  name = "mirror-lua",
  fields = { { config = { type = "record", fields = { { message = { type = "string" } } } } } },
}
