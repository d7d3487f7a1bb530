-- The digest md5, in the manner of lua-resty-string.
return require "silverback.digest" "md5"
