-- Schemas of entities (kong/db/schema/entity.lua).
return { new = require("kong.db.schema").new }
