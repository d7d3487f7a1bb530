-- Hooks into functions (kong/dynamic_hook): nothing here is instrumented, so that there is
-- nothing to hook into, and no hook ever runs.
local hooks = { ACTIVE_GROUPS = {} }
for _, name in ipairs { "hook_function", "hook", "enable", "enable_by_default", "disable",
                        "disable_by_default", "run_hook" } do
  hooks[name] = function() end
end
function hooks.is_group_enabled() return false end
return hooks
