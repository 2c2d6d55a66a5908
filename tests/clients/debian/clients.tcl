# Clients in Tcl: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list.

package require http

proc exit_at_end_of_input {} {
    read stdin
    if {[eof stdin]} {
        exit 0
    }
}

# It asks by HTTP/1.0 where there is a handler.
proc handler {socket token} {
    set bytes [read $socket]
    puts -nonewline $bytes
    return [string length $bytes]
}

proc tcl-http {url} {
    return [http::geturl $url -binary 1 -handler handler]
}

proc progress {token total current} {
    global printed
    puts -nonewline [string range [http::data $token] $printed end]
    set printed $current
}

proc tcl-http-progress {url} {
    global printed
    set printed 0
    return [http::geturl $url -binary 1 -progress progress]
}

lassign $argv name url
if {$name eq "--list"} {
    puts "tcl-http\ntcl-http-progress"
    exit
}
if {$url eq "--version"} {
    puts "http [package present http], Tcl [info patchlevel]"
    exit
}
fconfigure stdin -blocking 0
fileevent stdin readable exit_at_end_of_input
fconfigure stdout -translation binary -buffering none
if {[catch {$name $url} token]} {
    puts stderr $token
    exit 1
}
if {[http::status $token] ne "ok"} {
    puts stderr "[http::status $token] [http::error $token]"
    exit 1
}
puts stderr end
