#!/usr/bin/env escript
-mode(compile).

%% Clients in Erlang: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list.

main(["--list"]) ->
    io:put_chars("erl-httpc\n");
main(["erl-httpc", "--version"]) ->
    ok = application:load(inets),
    {ok, Version} = application:get_key(inets, vsn),
    io:format("httpc (inets ~s), Erlang/OTP ~s~n", [Version, erlang:system_info(otp_release)]);
main(["erl-httpc", Url | _]) ->
    ok = io:setopts([{encoding, latin1}]),
    spawn_link(fun exit_at_end_of_input/0),
    {ok, _} = application:ensure_all_started(inets),
    {ok, Id} = httpc:request(get, {Url, []}, [], [{sync, false}, {stream, self}]),
    httpc(Id).

httpc(Id) ->
    receive
        {http, {Id, stream_start, _}} ->
            httpc(Id);
        {http, {Id, stream, Bytes}} ->
            ok = file:write(standard_io, Bytes),
            httpc(Id);
        {http, {Id, stream_end, _}} ->
            io:put_chars(standard_error, "end\n"),
            halt(0);
        %% An error, or a whole response that is not 200 or 206.
        {http, {Id, Other}} ->
            io:format(standard_error, "~p~n", [Other]),
            halt(1)
    end.

exit_at_end_of_input() ->
    case io:get_line("") of
        eof -> halt(0);
        _ -> exit_at_end_of_input()
    end.
