-- All of it is there without being asked for.
return { version = "0.1.28" }
