-- Time tables in the manner of the luatz module, as far as plugins lean on them.
return { time = require("luatz.gettime").gettime, timetable = require "luatz.timetable",
         gettime = require "luatz.gettime" }
