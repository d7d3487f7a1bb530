-- Anonymous reports: none are made, so that nothing that is said here goes anywhere.
return setmetatable({}, { __index = function() return function() end end })
