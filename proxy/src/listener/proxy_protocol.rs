//! The PROXY protocol, versions 1 and 2: whom a connection stands for
//! (https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, its line end included.
const LINE_MAX: usize = 107;
/// The longest header of version 2 that is read.
const BLOCK_MAX: usize = 4096;

/// Source and destination.
type Addresses = (SocketAddr, SocketAddr);

/// Reads the header that a connection begins with. None where it stands for nobody else: a health
/// check of the proxy itself, or a kind of address that is not known.
///
/// # Errors
/// If there is no such header: the connection can't be used.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Addresses>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_block(stream).await;
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // Byte by byte, so that nothing of what follows is taken.
        line.push(stream.read_u8().await?);
    }
    parse_line(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_line(line: &[u8]) -> Option<Option<Addresses>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    match words.next()? {
        "UNKNOWN" => return Some(None),
        "TCP4" | "TCP6" => {}
        _ => return None,
    }
    let mut ip = || words.next()?.parse::<IpAddr>().ok();
    let (source, destination) = (ip()?, ip()?);
    let mut port = || words.next()?.parse::<u16>().ok();
    let (from, to) = (port()?, port()?);
    Some(Some((SocketAddr::new(source, from), SocketAddr::new(destination, to))))
}

async fn read_block(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Addresses>> {
    let command = stream.read_u8().await?;
    let family = stream.read_u8().await?;
    let length = usize::from(stream.read_u16().await?);
    if command >> 4 != 2 || length > BLOCK_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    if command & 0xf == 0 {
        return Ok(None);
    }
    match family >> 4 {
        1 => addresses::<4>(&block, |ip| Ipv4Addr::from(ip).into()),
        2 => addresses::<16>(&block, |ip| Ipv6Addr::from(ip).into()),
        _ => Some(None),
    }
    .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn addresses<const N: usize>(block: &[u8], ip: fn([u8; N]) -> IpAddr) -> Option<Option<Addresses>> {
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let to = rest.first_chunk::<2>()?;
    let address =
        |host: &[u8; N], port: &[u8; 2]| SocketAddr::new(ip(*host), u16::from_be_bytes(*port));
    Some(Some((address(source, from), address(destination, to))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn headers_of_both_versions() {
        async fn check(mut bytes: &[u8], expect: Option<Option<(&str, &str)>>) {
            let parse = |text: &str| text.parse().expect("an address");
            let expect = expect.map(|a| a.map(|(from, to)| (parse(from), parse(to))));
            assert_eq!(read(&mut bytes).await.ok(), expect);
        }
        let both = Some(Some(("1.2.3.4:56", "5.6.7.8:80")));
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 56 80\r\nGET", both).await;
        let both = Some(Some(("[::1]:56", "[::2]:80")));
        check(b"PROXY TCP6 ::1 ::2 56 80\r\n", both).await;
        check(b"PROXY UNKNOWN\r\n", Some(None)).await;
        check(b"GET / HTTP/1.1\r\n", None).await;
        let block = b"\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x38\0\x50";
        let both = Some(Some(("1.2.3.4:56", "5.6.7.8:80")));
        check(&[&SIGNATURE[..], block].concat(), both).await;
        check(&[&SIGNATURE[..], b"\x20\0\0\0"].concat(), Some(None)).await;
        check(&[&SIGNATURE[..], b"\x21\x11\0\x04abcd"].concat(), None).await;
    }
}
