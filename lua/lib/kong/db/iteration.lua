-- Going through rows page by page (kong/db/iteration.lua).
local iteration = {}

-- An iterator that says once what is wrong.
function iteration.failed(problem, fault)
  local said = false
  return function()
    if said then return nil end
    said = true
    return false, problem, fault
  end
end

-- An iterator over rows: the row, no error, the number of its page. `pager(size, offset)` gives
-- rows, a fault, and where the next page begins.
function iteration.rows(pager, size)
  local rows, at, number, offset, over = {}, 0, 0, nil, false
  return function()
    while at >= #rows do
      if over then return nil end
      local fault
      rows, fault, offset = pager(size, offset)
      if not rows then
        rows, over = {}, true
        return false, tostring(fault), fault
      end
      at, number, over = 0, number + 1, offset == nil
    end
    at = at + 1
    return rows[at], nil, number
  end
end

return iteration
