-- The system's log, in the manner of lsyslog.
local ffi = require "ffi"

ffi.cdef [[
void sb_openlog(const char *ident, int option, int facility) asm("openlog");
void sb_syslog(int priority, const char *format, ...) asm("syslog");
void sb_closelog(void) asm("closelog");
]]

-- The system keeps the name it was given, not a copy.
local name

local lsyslog = {
  open = function(ident, facility)
    name = ident
    ffi.C.sb_openlog(name, 0, facility or 8)
  end,
  log = function(level, text) ffi.C.sb_syslog(level, "%s", text) end,
  close = function() ffi.C.sb_closelog() end,
}

for level, number in pairs { EMERG = 0, ALERT = 1, CRIT = 2, ERR = 3, WARNING = 4, NOTICE = 5,
                             INFO = 6, DEBUG = 7 } do
  lsyslog["LOG_" .. level] = number
end

for facility, number in pairs { KERN = 0, USER = 1, MAIL = 2, DAEMON = 3, AUTH = 4, SYSLOG = 5,
                                LPR = 6, NEWS = 7, UUCP = 8, CRON = 9, AUTHPRIV = 10, FTP = 11,
                                LOCAL0 = 16, LOCAL1 = 17, LOCAL2 = 18, LOCAL3 = 19, LOCAL4 = 20,
                                LOCAL5 = 21, LOCAL6 = 22, LOCAL7 = 23 } do
  lsyslog["FACILITY_" .. facility] = number * 8
end

return lsyslog
