//! Cosockets, against servers that answer what they are told to.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    thread,
    time::Duration,
};

use super::check;

/// A server that says the same to everyone who says something, connection by connection, line by
/// line; after the last answer it closes, unless it is to stay.
fn server(answers: &'static [&'static str], stays: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                for answer in answers {
                    if !stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                        return;
                    }
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
                if stays {
                    thread::sleep(Duration::from_secs(5));
                }
            });
        }
    });
    address
}

/// A snippet that finds the server's port in `port`.
#[track_caller]
fn check_at(address: SocketAddr, source: &str, expect: &str) {
    check(&format!("local port = {} {source}", address.port()), expect);
}

const CONNECTED: &str =
    "local s = ngx.socket.tcp() s:settimeout(2000) assert(s:connect('127.0.0.1', port)) ";

#[test]
fn data_goes_both_ways() {
    let address = server(&["one\r\ntwo\nthree--four", "end"], false);
    check_at(
        address,
        &format!(
            "{CONNECTED} local sent = s:send({{'a', 1, {{'b'}}}}) \
        local until_mark = s:receiveuntil('--') \
        return sent, s:receive(), s:receive('*l'), until_mark(), s:receive(4), s:send('x'), \
        s:receive('*a'), s:close(), s:close()"
        ),
        "3 one two three four 1 end 1 nil closed",
    );
    let address = server(&["abcdef"], false);
    check_at(
        address,
        &format!(
            "{CONNECTED} s:send('x') local d, e, partial = s:receive(10) \
        local again, why = s:send('y') return d, e, partial, again, why"
        ),
        "nil closed abcdef nil closed",
    );
    let address = server(&["abcdefgh"], true);
    check_at(
        address,
        &format!(
            "{CONNECTED} s:send('x') local any = s:receiveany(3) \
        local piece = s:receiveuntil('gh') return any, piece(2), piece(2), piece(2)"
        ),
        "abc de f nil nil nil",
    );
}

#[test]
fn waiting_has_an_end() {
    let address = server(&["part", ""], true);
    check_at(
        address,
        &format!(
            "{CONNECTED} s:settimeout(1000) s:send('x') \
        local d, e, partial = s:receive() return d, e, partial, s:send('y')"
        ),
        "nil timeout part 1",
    );
    check("local s = ngx.socket.tcp() return s:connect('127.0.0.1', 1)", "nil connection refused");
    check(
        "local s = ngx.socket.tcp() return s:connect('unix:/no/such/socket')",
        "nil no such file or directory",
    );
    check("local s = ngx.socket.tcp() return s:send('x')", "nil closed");
    check("local s = ngx.socket.tcp() return s:setkeepalive()", "nil closed");
}

#[test]
fn connections_are_used_again() {
    let address = server(&["a\n", "b\n", "c\n"], true);
    check_at(
        address,
        &format!(
            "{CONNECTED} s:send('x') local a = s:receive() \
        local kept = s:setkeepalive(1000, 10) local t = ngx.socket.tcp() \
        t:connect('127.0.0.1', port) local reused = t:getreusedtimes() t:send('y') \
        return a, kept, reused, t:receive(), s:receive()"
        ),
        "a 1 1 b nil closed ",
    );
    let address = server(&["a\n"], false);
    check_at(
        address,
        &format!(
            "{CONNECTED} s:send('x') s:receive() s:setkeepalive() \
        ngx.sleep(0.02) local t = ngx.socket.tcp() t:connect('127.0.0.1', port) \
        return t:getreusedtimes()"
        ),
        "0",
    );
    let address = server(&["a\nb\n"], true);
    check_at(
        address,
        &format!(
            "{CONNECTED} s:send('x') s:receive() ngx.sleep(0.01) \
        return s:setkeepalive()"
        ),
        "nil unread data in buffer",
    );
    let address = server(&["a\n"], true);
    check_at(
        address,
        &format!(
            "{CONNECTED} s:send('x') s:receive() s:setkeepalive(5) \
        ngx.sleep(0.02) local t = ngx.socket.tcp() t:connect('127.0.0.1', port) \
        return t:getreusedtimes()"
        ),
        "0",
    );
}

#[test]
fn one_reads_while_another_writes() {
    let address = server(&["pong\n"], true);
    check_at(
        address,
        &format!(
            "{CONNECTED} local t = ngx.thread.spawn(function() \
        return s:receive() end) local _, busy = s:receive() s:send('ping') \
        return busy, ngx.thread.wait(t)"
        ),
        "socket busy reading true pong",
    );
}

#[test]
fn a_client_of_http_reads_answers() {
    let address = server(
        &[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n\
        3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        ],
        true,
    );
    check_at(
        address,
        "local url = 'http://127.0.0.1:' .. port .. '/x?y=1' \
        local http = require('resty.http') local a = http.new():request_uri(url) \
        local b = http.new():request_uri(url, {method = 'POST', body = 'z'}) \
        return a.status, a.body, a.headers['x-a'], b.status, b.body, b.reason",
        "200 abcde 1 404 no Not Found",
    );
    check("return require('resty.http').new():request_uri('ftp://h/')", "nil bad uri: ftp://h/");
}

#[test]
fn datagrams() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    thread::spawn(move || {
        let mut buffer = [0; 100];
        let (count, from) = socket.recv_from(&mut buffer).expect("a datagram");
        socket.send_to(&buffer[..count].to_ascii_uppercase(), from).expect("sent");
    });
    check_at(
        address,
        "local s = ngx.socket.udp() s:setpeername('127.0.0.1', port) \
        return s:send('hello'), s:receive(), s:settimeout(5), s:receive()",
        "1 HELLO nil nil timeout ",
    );
}

#[test]
fn luasocket_asks_over_http() {
    let address = server(
        &["HTTP/1.1 200 OK\r\nConnection: close\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"],
        false,
    );
    check_at(
        address,
        "local http = require('socket.http') local url = 'http://127.0.0.1:' .. port .. '/' \
         local body, status, headers, line = http.request(url) \
         local into = {} local one, code = http.request { url = url, \
         sink = require('ltn12').sink.table(into) } \
         return body, status, headers['x-a'], line, one, code, table.concat(into)",
        "hello 200 b HTTP/1.1 200 OK 1 200 hello",
    );
}
