-- LuaSocket's `socket.http`, on resty.http: it waits without holding the worker up.

local http = { PORT = 80, TIMEOUT = 60, USERAGENT = "LuaSocket 3.0 (cosockets)" }

-- How often an answer may say that it is elsewhere.
local REDIRECTS = 5

-- All that a source gives.
local function read_all(source)
  local parts = {}
  while true do
    local chunk, problem = source()
    if problem then return nil, problem end
    if not chunk then return table.concat(parts) end
    parts[#parts + 1] = chunk
  end
end

local function lower_names(headers)
  local lower = {}
  for name, value in pairs(headers) do
    lower[name:lower()] = type(value) == "table" and table.concat(value, ", ") or value
  end
  return lower
end

local MOVED = { [301] = true, [302] = true, [303] = true, [307] = true }

local function ask(asked, url, left)
  local body, problem = asked.body, nil
  if asked.source then
    body, problem = read_all(asked.source)
    if not body then return nil, problem end
    asked.source, asked.body = nil, body
  end
  local client = require("resty.http").new()
  client:set_timeout((asked.timeout or http.TIMEOUT) * 1000)
  local headers = { ["User-Agent"] = http.USERAGENT }
  for name, value in pairs(asked.headers or {}) do headers[name] = value end
  local answer
  answer, problem = client:request_uri(url, {
    method = asked.method or "GET", headers = headers, body = body,
    ssl_verify = asked.verify ~= "none",
  })
  if not answer then return nil, problem end
  local location = answer.headers.location
  local follows = asked.redirect ~= false and location and MOVED[answer.status]
                  and (asked.method == nil or asked.method == "GET" or asked.method == "HEAD")
  if follows then
    if left == 0 then return nil, "too many redirects" end
    return ask(asked, require("socket.url").absolute(url, location), left - 1)
  end
  return answer
end

-- (URL, body): the body, the status, the headers and the status line. ({ url =, method =, headers =,
-- source =, sink = }): the same with 1 for the body, which the sink gets. nil and what went wrong.
function http.request(asked, body)
  local simple = type(asked) == "string"
  if simple then
    local headers
    if body then
      headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
    end
    asked = { url = asked, method = body and "POST" or nil, body = body, headers = headers }
  end
  local copy = {}
  for name, value in pairs(asked) do copy[name] = value end
  local answer, problem = ask(copy, asked.url, REDIRECTS)
  if not answer then return nil, problem end
  local line = "HTTP/1.1 " .. answer.status .. " " .. (answer.reason or "")
  local headers = lower_names(answer.headers)
  if simple then return answer.body, answer.status, headers, line end
  if asked.sink then
    local ok
    if answer.body and answer.body ~= "" then
      ok, problem = asked.sink(answer.body)
      if not ok then return nil, problem end
    end
    asked.sink(nil)
  end
  return 1, answer.status, headers, line
end

return http
