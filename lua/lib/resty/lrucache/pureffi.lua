-- The same cache: one kind is enough.
return require "resty.lrucache"
