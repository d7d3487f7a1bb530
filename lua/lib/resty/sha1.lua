-- The digest sha1, in the manner of lua-resty-string.
return require "silverback.digest" "sha1"
