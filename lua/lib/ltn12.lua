-- Sources, filters and sinks: pieces of text on their way, in the manner of LuaSocket's ltn12.
-- A source gives a piece, or nil at the end, or nil and an error; a filter makes a piece of a piece,
-- nil in meaning "the end"; a sink takes pieces, nil at the end, and says 1, or nil and an error.

local select, unpack, type, insert = select, unpack, type, table.insert

local ltn12 = { _VERSION = "LTN12 1.0.3", BLOCKSIZE = 2048, filter = {}, source = {}, sink = {},
                pump = {} }
local filter, source, sink, pump = ltn12.filter, ltn12.source, ltn12.sink, ltn12.pump

-- A filter of a function (state, piece, extra) that gives the new piece and the new state.
function filter.cycle(low, state, extra)
  return function(piece)
    local made
    made, state = low(state, piece, extra)
    return made
  end
end

local function chain_two(first, second)
  return function(piece)
    local made = first(piece)
    if piece ~= nil then
      return second(made)
    end
    -- The end: what the first has kept goes through the second, and then the end does.
    local rest = made ~= nil and second(made) or ""
    local last = second(nil)
    if made == nil and last == nil then
      return nil
    end
    local all = rest .. (last or "")
    return all ~= "" and all or (made ~= nil and "" or nil)
  end
end

-- Filters one behind the other.
function filter.chain(first, ...)
  local all = first
  for i = 1, select("#", ...) do
    all = chain_two(all, (select(i, ...)))
  end
  return all
end

function source.empty() return function() return nil end end
function source.error(problem) return function() return nil, problem end end

function source.file(handle, problem)
  if not handle then
    return source.error(problem or "unable to open file")
  end
  return function()
    local piece = handle:read(ltn12.BLOCKSIZE)
    if not piece then handle:close() end
    return piece
  end
end

-- A source that may give another in its own place is made one that may not.
function source.simplify(src)
  return function()
    local piece, other = src()
    if other and piece ~= nil then src = other end
    return piece, piece == nil and other or nil
  end
end

function source.string(text)
  if not text then return source.empty() end
  local at = 1
  return function()
    local piece = text:sub(at, at + ltn12.BLOCKSIZE - 1)
    at = at + ltn12.BLOCKSIZE
    return piece ~= "" and piece or nil
  end
end

function source.table(list)
  local at = 0
  return function()
    at = at + 1
    return list[at]
  end
end

-- A source that takes pieces back.
function source.rewind(src)
  local back = {}
  return function(piece)
    if piece then
      insert(back, piece)
      return
    end
    piece = table.remove(back)
    if piece then return piece end
    return src()
  end
end

function source.chain(src, ...)
  local make = filter.chain(...)
  local ended = false
  return function()
    while not ended do
      local piece, problem = src()
      if problem then return nil, problem end
      ended = piece == nil
      local made = make(piece)
      if made and (made ~= "" or ended) then
        return made ~= "" and made or nil
      end
    end
    return nil
  end
end

-- One source after the other.
function source.cat(...)
  local all, at = { ... }, 1
  return function()
    while all[at] do
      local piece, problem = all[at]()
      if piece ~= nil then return piece end
      if problem then return nil, problem end
      at = at + 1
    end
    return nil
  end
end

function sink.table(list)
  list = list or {}
  return function(piece)
    if piece then list[#list + 1] = piece end
    return 1
  end, list
end

function sink.simplify(snk)
  return function(piece, problem)
    local ok, other = snk(piece, problem)
    if not ok then return nil, other end
    if type(other) == "function" then snk = other end
    return 1
  end
end

function sink.null() return function() return 1 end end
function sink.error(problem) return function() return nil, problem end end

function sink.file(handle, problem)
  if not handle then
    return sink.error(problem or "unable to open file")
  end
  return function(piece)
    if not piece then
      handle:close()
      return 1
    end
    return handle:write(piece) and 1 or nil
  end
end

-- (filters, and the sink behind them)
function sink.chain(...)
  local count = select("#", ...)
  local snk = (select(count, ...))
  local filters = { ... }
  local make = filter.chain(unpack(filters, 1, count - 1))
  return function(piece, problem)
    if problem then return snk(nil, problem) end
    local made = make(piece)
    if made and made ~= "" then
      local ok, wrong = snk(made)
      if not ok then return nil, wrong end
    end
    return piece ~= nil and 1 or snk(nil)
  end
end

-- One piece on its way.
function pump.step(src, snk)
  local piece, problem = src()
  local ok, wrong = snk(piece, problem)
  if piece and ok then return 1 end
  return nil, problem or wrong
end

-- All of them.
function pump.all(src, snk, step)
  step = step or pump.step
  while true do
    local ok, problem = step(src, snk)
    if not ok then
      if problem then return nil, problem end
      return 1
    end
  end
end

return ltn12
