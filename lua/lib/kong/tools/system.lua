-- What is known of the machine (kong/tools/system.lua).
local system = {}

local CERTIFICATES = {
  "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
}

-- The file of the certificate authorities that the system trusts.
function system.get_system_trusted_certs_filepath()
  for _, path in ipairs(CERTIFICATES) do
    local file = io.open(path)
    if file then
      file:close()
      return path
    end
  end
  return nil, "no file of trusted certificates where systems have them: install one " ..
              "(ca-certificates), or name a file in lua_ssl_trusted_certificate"
end

local infos

-- Cores and name.
function system.get_system_infos()
  if infos then return infos end
  infos = {}
  local file = io.open("/proc/cpuinfo")
  if file then
    local _, cores = file:read("*a"):gsub("processor%s*:", "")
    infos.cores = cores
    file:close()
  end
  file = io.open("/proc/sys/kernel/ostype")
  if file then
    infos.uname = file:read("*l") .. " " .. jit.arch
    file:close()
  end
  return infos
end

return system
