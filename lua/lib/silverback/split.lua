-- Splitting as Penlight does it.
local find, sub = string.find, string.sub

-- The parts of a text between delimiters, at most n; runs of white space without a delimiter. An
-- empty last part is left out.
return function(text, delimiter, plain, n)
  local parts = {}
  if delimiter == "" then return { text } end
  if not delimiter then
    delimiter, plain = "%s+", false
    text = text:gsub("^%s+", "")
  end
  local at = 1
  while true do
    local first, last = find(text, delimiter, at, plain)
    if not first or last < first or (n and #parts + 1 >= n) then
      local rest = sub(text, at)
      if rest ~= "" then parts[#parts + 1] = rest end
      if #parts == 1 and parts[1] == "" then return {} end
      return parts
    end
    parts[#parts + 1] = sub(text, at, first - 1)
    at = last + 1
  end
end
