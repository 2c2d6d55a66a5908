-- Clients in Lua: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list. They do not look
-- at their standard input.

local function lua_socket(url)
   local http = require("socket.http")
   local ltn12 = require("ltn12")
   io.stdout:setvbuf("no")
   local done, status = http.request({ url = url, sink = ltn12.sink.file(io.stdout) })
   if not done then
      error(status, 0)
   end
end

local clients = { ["lua-socket"] = lua_socket }

local name, url = ...
if name == "--list" then
   for client in pairs(clients) do
      print(client)
   end
elseif url == "--version" then
   local query = assert(io.popen("dpkg-query -W -f '${Version}' lua-socket"))
   print("lua-socket " .. query:read("a") .. ", " .. _VERSION)
else
   local done, message = pcall(clients[name], url)
   io.stderr:write(done and "end" or message, "\n")
   os.exit(done)
end
