-- Certificates and names of TLS (lua-resty-core, ngx.ssl), as far as they need no handshake: the
-- certificates that clients see are the gateway's own to choose.

local x509, pkey

local function parsed(pem, kind)
  local ok, problem
  if kind == "cert" then
    x509 = x509 or require "resty.openssl.x509"
    ok, problem = x509.new(pem)
  else
    pkey = pkey or require "resty.openssl.pkey"
    ok, problem = pkey.new(pem)
  end
  if not ok then return nil, problem end
  return { pem = pem, object = ok }
end

return {
  version = "0.1.28",
  TLS1_VERSION = 0x0301, TLS1_1_VERSION = 0x0302, TLS1_2_VERSION = 0x0303, TLS1_3_VERSION = 0x0304,
  -- The name that the client asked for.
  server_name = function() return ngx.var.ssl_server_name end,
  get_tls1_version_str = function() return ngx.var.ssl_protocol end,
  get_client_random = function() return nil, "not supported" end,
  parse_pem_cert = function(pem) return parsed(pem, "cert") end,
  parse_pem_priv_key = function(pem) return parsed(pem, "key") end,
  raw_client_addr = function()
    local address = ngx.var.binary_remote_addr
    return address, address and (#address == 4 and "inet" or "inet6")
  end,
}
