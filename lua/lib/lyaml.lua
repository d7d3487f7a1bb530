-- YAML, in the manner of the rock `lyaml`.

local native = require "silverback.native"

local lyaml = { _VERSION = "6.2.8", null = native.null }

function lyaml.isnull(value) return value == lyaml.null end

-- The first document of a text, or with `all` a list of them. Raises what is wrong.
function lyaml.load(text, options)
  local documents, problem = native.yaml_load(text)
  if not documents then
    error(problem, 2)
  end
  local all = type(options) == "table" and options.all or options == true
  if all then return documents end
  return documents[1]
end

-- A list of documents as text.
function lyaml.dump(documents)
  local text = {}
  for i = 1, #documents do
    text[i] = "---\n" .. native.yaml_dump(documents[i]) .. "...\n"
  end
  return table.concat(text)
end

return lyaml
