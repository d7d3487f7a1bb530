-- The digest sha384, in the manner of lua-resty-string.
return require "silverback.digest" "sha384"
