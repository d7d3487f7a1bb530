//! What modules of the embedded library need of the system: files (`lfs`), addresses
//! (`resty.ipmatcher`), compression (`kong.tools.gzip`).

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use ipnet::IpNet;
use mlua::{Lua, LuaString, Table, UserData, UserDataMethods};

use crate::{
    bind,
    raw::{Args, Out, Outcome},
    state::State,
};

/// The most that is unpacked at once, bytes: a small text can stand for endless zeros.
const UNPACKED_MAX: u64 = 256 << 20;

/// Puts the functions into a table.
///
/// # Errors
/// If there is no memory.
pub(super) fn register(state: &State, native: &Table) -> mlua::Result<()> {
    let lua = &state.lua;
    native.set("parse_ipv4", bind::fast(state, parse_ipv4)?)?;
    native
        .set("parse_ipv6", lua.create_function(|lua, text: LuaString| parse_ipv6(lua, &text))?)?;
    native.set("networks", lua.create_function(|lua, list| networks(lua, &list))?)?;
    native.set("gzip", bind::fast(state, gzip)?)?;
    native.set("gunzip", bind::fast(state, gunzip)?)?;
    native.set("stat", lua.create_function(stat)?)?;
    let directory = state.config.directory.clone();
    native.set(
        "list",
        lua.create_function(move |_, path: PathBuf| Ok(list(&directory.join(path))))?,
    )?;
    native.set("mkdir", lua.create_function(|_, path: PathBuf| Ok(done(fs::create_dir(path))))?)?;
    native.set("rmdir", lua.create_function(|_, path: PathBuf| Ok(done(fs::remove_dir(path))))?)?;
    let directory = state.config.directory.clone();
    native.set("currentdir", lua.create_function(move |_, ()| Ok(directory.clone()))?)
}

fn address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_ipv4(args: &Args<'_>) -> Outcome {
    match args.bytes(1).and_then(address) {
        Some(IpAddr::V4(ip)) => Outcome::One(f64::from(u32::from(ip)).into()),
        _ => Outcome::One(false.into()),
    }
}

/// Four 32-bit numbers, or false.
fn parse_ipv6(lua: &Lua, text: &LuaString) -> mlua::Result<mlua::Value> {
    let bytes = text.as_bytes();
    let inner = bytes.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let parsed: Option<Ipv6Addr> =
        std::str::from_utf8(inner.unwrap_or(&bytes)).ok().and_then(|text| text.parse().ok());
    let Some(ip) = parsed else { return Ok(mlua::Value::Boolean(false)) };
    let parts = ip.octets();
    let numbers = parts
        .chunks_exact(4)
        .map(|four| four.iter().fold(0_u32, |number, &byte| number << 8 | u32::from(byte)));
    lua.create_sequence_from(numbers).map(mlua::Value::Table)
}

/// Networks to look addresses up in.
struct Networks(Vec<IpNet>);

/// A list of addresses and networks; nil and what is wrong.
fn networks(lua: &Lua, list: &Table) -> mlua::Result<(mlua::Value, Option<String>)> {
    let mut nets = Vec::new();
    for text in list.sequence_values::<String>() {
        let text = text?;
        let net =
            text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        match net {
            Some(net) => nets.push(net.trunc()),
            None => return Ok((mlua::Value::Nil, Some(format!("invalid ip address: {text}")))),
        }
    }
    Ok((mlua::Value::UserData(lua.create_userdata(Networks(nets))?), None))
}

impl Networks {
    /// The position of the narrowest network that an address is in.
    fn find(&self, ip: Option<IpAddr>) -> (Option<usize>, Option<&'static str>) {
        let Some(ip) = ip else { return (None, Some("invalid ip address, not ipv4 and ipv6")) };
        let found = self.0.iter().enumerate().filter(|(_, net)| net.contains(&ip));
        (found.max_by_key(|(_, net)| net.prefix_len()).map(|(place, _)| place + 1), None)
    }
}

impl UserData for Networks {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("find", |_, networks, text: mlua::Value| {
            let text = text.as_string();
            Ok(networks.find(text.and_then(|text| address(&text.as_bytes()))))
        });
        methods.add_method("find_bin", |_, networks, bytes: LuaString| {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(&*bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(&*bytes).map(IpAddr::from));
            Ok(networks.find(ip.ok()))
        });
    }
}

fn gzip(args: &Args<'_>) -> Outcome {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(args.bytes(1).unwrap_or_default());
    match written.and_then(|()| encoder.finish()) {
        Ok(packed) => Outcome::One(Out::Owned(packed)),
        Err(error) => Outcome::nil(error.to_string()),
    }
}

fn gunzip(args: &Args<'_>) -> Outcome {
    let mut unpacked = Vec::new();
    let decoder = MultiGzDecoder::new(args.bytes(1).unwrap_or_default());
    match decoder.take(UNPACKED_MAX + 1).read_to_end(&mut unpacked) {
        Ok(_) if unpacked.len() as u64 > UNPACKED_MAX => Outcome::nil("the text is too large"),
        Ok(_) => Outcome::One(Out::Owned(unpacked)),
        Err(error) => Outcome::nil(error.to_string()),
    }
}

/// The facts of a file as LuaFileSystem names them; of a link itself if that is asked.
fn stat(lua: &Lua, (path, link): (PathBuf, bool)) -> mlua::Result<(mlua::Value, Option<String>)> {
    let found = if link { fs::symlink_metadata(&path) } else { fs::metadata(&path) };
    let data = match found {
        Ok(data) => data,
        Err(error) => {
            let text = format!("cannot obtain information from file '{}': {error}", path.display());
            return Ok((mlua::Value::Nil, Some(text)));
        }
    };
    let mode = match () {
        () if data.is_dir() => "directory",
        () if data.is_file() => "file",
        () if data.is_symlink() => "link",
        () => "other",
    };
    let facts = lua.create_table()?;
    facts.set("mode", mode)?;
    facts.set("size", data.size())?;
    facts.set("access", data.atime())?;
    facts.set("modification", data.mtime())?;
    facts.set("change", data.ctime())?;
    facts.set("ino", data.ino())?;
    facts.set("dev", data.dev())?;
    facts.set("nlink", data.nlink())?;
    facts.set("uid", data.uid())?;
    facts.set("gid", data.gid())?;
    facts.set("blocks", data.blocks())?;
    facts.set("blksize", data.blksize())?;
    facts.set("permissions", permissions(data.mode()))?;
    Ok((mlua::Value::Table(facts), None))
}

/// "rw-r--r--".
fn permissions(mode: u32) -> String {
    let letters = "rwxrwxrwx".chars().zip((0..9).rev());
    letters.map(|(letter, bit)| if mode >> bit & 1 == 1 { letter } else { '-' }).collect()
}

fn list(path: &std::path::Path) -> (Option<Vec<String>>, Option<String>) {
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut names = vec![".".to_owned(), "..".to_owned()];
            let found = entries.flatten().map(|entry| entry.file_name());
            names.extend(found.map(|name| name.to_string_lossy().into_owned()));
            (Some(names), None)
        }
        Err(error) => (None, Some(format!("cannot open {}: {error}", path.display()))),
    }
}

fn done(result: std::io::Result<()>) -> (Option<bool>, Option<String>) {
    match result {
        Ok(()) => (Some(true), None),
        Err(error) => (None, Some(error.to_string())),
    }
}
