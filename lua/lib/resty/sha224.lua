-- The digest sha224, in the manner of lua-resty-string.
return require "silverback.digest" "sha224"
