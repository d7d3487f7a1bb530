-- The digest sha512, in the manner of lua-resty-string.
return require "silverback.digest" "sha512"
