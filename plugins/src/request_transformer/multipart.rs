//! Changes the parts of a multipart form, and leaves the others as they came.

use bytes::Bytes;
use http::{HeaderMap, header};

use super::Values;

/// A part: its name, if it says one, and all of it, headers and value.
struct Part {
    name: Option<String>,
    text: Vec<u8>,
}

impl Part {
    fn new(name: &str, value: &[u8]) -> Part {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        Part { name: Some(name.to_owned()), text: [head.as_bytes(), value].concat() }
    }

    fn read(text: &[u8]) -> Part {
        let head = text.get(..head_length(text)).unwrap_or_default();
        let name = String::from_utf8_lossy(head).lines().find_map(|line| {
            let (header, rest) = line.split_once(':')?;
            header.trim().eq_ignore_ascii_case("content-disposition").then_some(())?;
            let parameter = rest.split(';').find_map(|p| p.trim().strip_prefix("name="))?;
            Some(parameter.trim_matches('"').to_owned())
        });
        Part { name, text: text.to_vec() }
    }

    fn value(&self) -> &[u8] {
        self.text.get(head_length(&self.text) + 4..).unwrap_or_default()
    }
}

/// The length of a part's headers, without the empty line.
fn head_length(text: &[u8]) -> usize {
    text.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(text.len())
}

/// None where nothing has changed, or the body is not what its content type says.
pub(super) fn change(body: &Bytes, headers: &HeaderMap, values: Values) -> Option<Vec<u8>> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = content_type.split(';').find_map(|p| p.trim().strip_prefix("boundary="))?;
    let boundary = boundary.trim_matches('"');
    let mut parts = read(body, boundary);
    let had_any = !body.is_empty();
    if !change_parts(&mut parts, values, had_any) {
        return None;
    }
    let mut text = Vec::with_capacity(body.len() + 256);
    for part in &parts {
        text.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        text.extend_from_slice(&part.text);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Some(text)
}

fn read(body: &[u8], boundary: &str) -> Vec<Part> {
    let delimiter = format!("--{boundary}");
    let delimiter = delimiter.as_bytes();
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(found) = body
        .get(at..)
        .and_then(|rest| rest.windows(delimiter.len()).position(|window| window == delimiter))
    {
        starts.push(at + found);
        at += found + delimiter.len();
    }
    let between = |pair: &[usize]| {
        let [from, to] = pair else { return None };
        let text = body.get(from + delimiter.len()..*to)?;
        let text = text.strip_prefix(b"\r\n")?;
        Some(Part::read(text.strip_suffix(b"\r\n").unwrap_or(text)))
    };
    starts.windows(2).filter_map(between).collect()
}

/// As in Kong renames come first, and nothing is appended.
fn change_parts(parts: &mut Vec<Part>, values: Values, had_any: bool) -> bool {
    let mut changed = !values.remove.is_empty() && had_any;
    let find = |parts: &[Part], name: &str| {
        parts.iter().position(|part| part.name.as_deref() == Some(name))
    };
    for (old, new) in values.rename {
        if let Some(new) = new.filter(|new| *new != old)
            && let Some(at) = find(parts, &old)
        {
            let renamed = Part::new(&new, parts.remove(at).value());
            parts.push(renamed);
            changed = true;
        }
    }
    for name in values.remove {
        parts.retain(|part| part.name.as_ref() != Some(&name));
    }
    for (name, value) in values.replace {
        if let (Some(at), Some(value)) = (find(parts, &name), value) {
            parts.remove(at);
            parts.push(Part::new(&name, value.as_bytes()));
            changed = true;
        }
    }
    for (name, value) in values.add {
        if let (None, Some(value)) = (find(parts, &name), value) {
            parts.push(Part::new(&name, value.as_bytes()));
            changed = true;
        }
    }
    changed
}
