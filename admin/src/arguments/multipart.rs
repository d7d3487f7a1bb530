//! Forms in parts (RFC 7578).

use super::Argument;

/// The parts of a multipart form by name; of parts with one name the last stays, as in Kong.
/// Without a boundary there are none.
pub(crate) fn multipart(media_type: &str, body: &[u8]) -> Vec<Argument> {
    let Some(boundary) = parameter(media_type, "boundary").filter(|text| !text.is_empty()) else {
        return Vec::new();
    };
    let body = String::from_utf8_lossy(body);
    let delimiter = format!("--{boundary}");
    let mut parts: Vec<Argument> = Vec::new();
    for (name, value) in body.split(delimiter.as_str()).skip(1).filter_map(part) {
        parts.retain(|(other, _)| *other != name);
        parts.push((name, Some(value)));
    }
    parts
}

/// A part's name and value.
fn part(text: &str) -> Option<(String, String)> {
    let part = text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n'))?;
    let (head, value) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n"))?;
    let value = value.strip_suffix("\r\n").or(value.strip_suffix('\n')).unwrap_or(value);
    let disposition =
        head.lines().find(|line| line.to_lowercase().starts_with("content-disposition:"))?;
    Some((parameter(disposition, "name")?, value.to_owned()))
}

/// The value of `; name=value` or `; name="value"`.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|item| {
        let (key, value) = item.split_once('=')?;
        (key.trim().eq_ignore_ascii_case(name)).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(media_type: &str, body: &str, expect: &[(&str, &str)]) {
        let parts = multipart(media_type, body.as_bytes());
        let parts: Vec<(&str, &str)> =
            parts.iter().map(|(n, v)| (n.as_str(), v.as_deref().unwrap_or_default())).collect();
        assert_eq!(parts, expect, "{body:?}");
    }

    #[test]
    fn parts_have_names_and_values() {
        let form = "--X\r\nContent-Disposition: form-data; name=\"config\"; filename=\"k.yml\"\r\n\
                    Content-Type: text/yaml\r\n\r\na: 1\r\nb: 2\r\n--X--\r\n";
        check("multipart/form-data; boundary=X", form, &[("config", "a: 1\r\nb: 2")]);
        let twice = "--X\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n\
                     --X\r\ncontent-disposition: form-data; name=a\r\n\r\n\r\n--X--";
        check("multipart/form-data; boundary=\"X\"", twice, &[("a", "")]);
        check("multipart/form-data", form, &[]);
        check("multipart/form-data; boundary=", form, &[]);
        check("multipart/form-data; boundary=X", "--X\r\n\r\nno name\r\n--X", &[]);
    }
}
