-- The one workspace that there is (kong/workspaces).
local workspaces = {}

function workspaces.upsert_default() return workspaces.get_workspace() end

function workspaces.get_workspace()
  local id = ngx.ctx.workspace or kong.default_workspace
  return kong.db.workspaces:select { id = id }
end

function workspaces.get_workspace_name() return "default" end

function workspaces.set_workspace(workspace) ngx.ctx.workspace = workspace and workspace.id end

-- The id of the request's workspace.
function workspaces.get_workspace_id(ctx)
  return ctx and ctx.workspace or kong.default_workspace
end

return workspaces
