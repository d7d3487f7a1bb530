-- The digest sha256, in the manner of lua-resty-string.
return require "silverback.digest" "sha256"
