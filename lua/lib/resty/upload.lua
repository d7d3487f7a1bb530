-- Forms of several parts, read piece by piece, in the manner of lua-resty-upload. The request's
-- body is read whole first; its pieces are handed out one after the other.

local ngx = ngx
local find, gsub, lower, match, sub = string.find, string.gsub, string.lower, string.match,
                                      string.sub
local setmetatable = setmetatable

local upload = { _VERSION = "0.11" }
local METATABLE = { __index = upload }

local function boundary_of(content_type)
  if type(content_type) == "table" then content_type = content_type[1] end
  if not content_type then return nil, "no Content-Type header" end
  local boundary = match(content_type, ";%s*boundary=\"([^\"]+)\"")
                   or match(content_type, ";%s*boundary=([^\",;]+)")
  if not boundary then return nil, "no boundary defined in Content-Type" end
  return boundary
end

local function body_of()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if body then return body end
  local path = ngx.req.get_body_file()
  if not path then return "" end
  local file, problem = io.open(path, "rb")
  if not file then return nil, problem end
  body = file:read("*a")
  file:close()
  return body
end

-- (bytes of a piece, bytes of a header's line)
function upload.new(_, chunk_size, max_line_size)
  local boundary, problem = boundary_of(ngx.req.get_headers().content_type)
  if not boundary then return nil, problem end
  local body
  body, problem = body_of()
  if not body then return nil, problem end
  return setmetatable({ body = body, at = 1, mark = "--" .. boundary, part = "preamble",
                        size = chunk_size or 4096, max_line = max_line_size or 512 }, METATABLE)
end

function upload.set_timeout() return 1 end

-- Goes behind the mark that ends a part. True if it is the last.
local function behind_mark(self, to)
  if sub(self.body, to + 1, to + 2) == "--" then
    self.part = "end"
    return true
  end
  local line_end = select(2, find(self.body, "\r\n", to + 1, true))
  if not line_end then
    self.part = "end"
    return true
  end
  self.at, self.part = line_end + 1, "header"
  return false
end

local readers = {}

function readers.preamble(self)
  local _, to = find(self.body, self.mark, 1, true)
  if not to then return nil, nil, "no boundary found" end
  if behind_mark(self, to) then return "eof" end
  return readers.header(self)
end

function readers.header(self)
  local from, to = find(self.body, "\r\n", self.at, true)
  if not from then return nil, nil, "header line not terminated" end
  local line = sub(self.body, self.at, from - 1)
  if #line > self.max_line then return nil, nil, "line too long: " .. line .. "..." end
  self.at = to + 1
  if line == "" then
    self.part = "body"
    return readers.body(self)
  end
  local name, value = match(line, "^([^: \t]+)%s*:%s*(.-)%s*$")
  if not name then return "header", line end
  return "header", { name, value, line }
end

function readers.body(self)
  local from, to = find(self.body, "\r\n" .. self.mark, self.at, true)
  -- A part without content.
  if not from and sub(self.body, self.at, self.at + #self.mark - 1) == self.mark then
    from, to = self.at, self.at + #self.mark - 1
  end
  if not from then return nil, nil, "body not terminated" end
  if self.at < from then
    local piece = sub(self.body, self.at, math.min(from - 1, self.at + self.size - 1))
    self.at = self.at + #piece
    return "body", piece
  end
  behind_mark(self, to)
  return "part_end"
end

readers["end"] = function(self)
  self.part = "eof"
  return "eof"
end

function readers.eof() return "eof" end

-- What comes next: "header" with { name, value, line }, "body" with a piece, "part_end", "eof"; nil,
-- nil and what is wrong.
function upload:read()
  local kind, value, problem = readers[self.part](self)
  if not kind then return nil, nil, problem end
  return kind, value
end

return upload
