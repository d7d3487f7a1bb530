return {
  name = "rocked",
  fields = {
    { config = { type = "record", fields = { { a = { type = "number", required = true } } } } },
  },
}
