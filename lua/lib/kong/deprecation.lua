-- Warnings about what is deprecated (kong/deprecation.lua).
return setmetatable({ init = function() end }, {
  __call = function(_, message, options)
    if options and options.after and options.removal then
      message = ("%s (deprecated after %s, scheduled for removal in %s)"):format(message,
        options.after, options.removal)
    end
    ngx.log(ngx.WARN, message)
  end,
})
