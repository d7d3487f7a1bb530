-- The request's headers (lua-resty-core, ngx.req).
return { version = "0.1.28", add_header = ngx.req.add_header }
