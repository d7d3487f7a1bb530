local endpoints = require "kong.api.endpoints"

return {
  ["/badge-lists/:badge_lists/size"] = {
    schema = kong.db.badge_lists.schema,
    GET = function(self, db)
      local list, _, fault = endpoints.select_entity(self, db, db.badge_lists.schema)
      if fault then return endpoints.handle_error(fault) end
      if not list then return kong.response.exit(404, { message = "Not found" }) end
      local size = 0
      for _, err in db.badges:each_for_list({ id = list.id }) do
        if err then return endpoints.handle_error(err) end
        size = size + 1
      end
      return { json = { name = list.name, size = size } }
    end,
  },
  ["/badge-lists"] = {
    schema = kong.db.badge_lists.schema,
    POST = function(self, _, _, parent)
      self.args.post.tags = self.args.post.tags or { "made" }
      return parent(function(list)
        list.note = "new"
        return list
      end)
    end,
  },
  ["/badge-lists/:badge_lists"] = {
    schema = kong.db.badge_lists.schema,
    GET = function(_, _, _, parent)
      kong.response.set_header("X-Badges", "shown")
      return parent()
    end,
  },
  ["/badge-word"] = {
    GET = function()
      kong.response.set_status(202)
      ngx.print("word")
    end,
  },
  ["/floors/:floor"] = {
    schema = kong.db.badge_lists.schema,
    GET = function(self, db)
      local list, _, fault = db.badge_lists:select_by_floor(tonumber(self.params.floor))
      if fault then return endpoints.handle_error(fault) end
      if not list then return kong.response.exit(404, { message = "Not found" }) end
      return kong.response.exit(200, list)
    end,
  },
  ["/badge-lists/:badge_lists/fail"] = {
    schema = kong.db.badge_lists.schema,
    POST = function(self, db, helpers)
      if self.params.how == "error" then error "it went wrong" end
      local _, _, fault = db.badge_lists:insert({ name = 5 })
      return helpers.yield_error(fault)
    end,
  },
}
