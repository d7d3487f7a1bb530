-- Helpers (resty.core.utils).
return {
  version = "0.1.28",
  -- The text with each of one character replaced by another.
  str_replace_char = function(text, char, by)
    if not text:find(char, 1, true) then return text end
    return (text:gsub(char:gsub("%W", "%%%0"), (by:gsub("%%", "%%%%"))))
  end,
}
