-- Codes are kept in upper case, whoever writes them.
local badges = {}

function badges:insert(entity, options)
  if type(entity.code) == "string" then entity.code = entity.code:upper() end
  return self.super.insert(self, entity, options)
end

function badges:select_by_any_code(code)
  return self:select_by_code(code:upper())
end

return badges
