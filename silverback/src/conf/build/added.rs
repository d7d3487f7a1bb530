//! `add_header`: headers that users have their answers get.

use http::{HeaderName, HeaderValue};
use silverback_proxy::AddedHeader;

use crate::conf::settings::{Findings, Settings};

/// The headers of `nginx_proxy_add_header`; of `nginx_http_add_header` where that has none, as in
/// nginx, which takes those of the outer level only where the inner one has none.
pub(super) fn headers(s: &Settings, findings: &mut Findings) -> Vec<AddedHeader> {
    let keys = ["nginx_proxy_add_header", "nginx_http_add_header"];
    let Some((key, text)) = keys.iter().find_map(|key| Some((*key, s.text(key)?))) else {
        return Vec::new();
    };
    let all = statements(text);
    let mut headers: Vec<AddedHeader> =
        match all.iter().enumerate().map(|(i, words)| header(i, words)).collect() {
            Ok(headers) => headers,
            Err(why) => {
                findings.error(s, key, format!("{key} {why}: '{text}'"));
                return Vec::new();
            }
        };
    headers.retain(|AddedHeader { name, value, .. }| {
        let varies = value.as_bytes().contains(&b'$');
        if varies {
            findings.warnings.push(format!(
                "{key}: {name} is not added: its value has a variable of nginx, and there are \
                 none here"
            ));
        }
        // nginx leaves out what is empty.
        !varies && !value.is_empty()
    });
    headers
}

/// A header of the words of a statement; before the first one Kong writes the directive's name.
fn header(index: usize, words: &[String]) -> Result<AddedHeader, &'static str> {
    let words = match words {
        [directive, rest @ ..] if index > 0 && directive == "add_header" => rest,
        _ if index > 0 => return Err("has a directive that is no add_header"),
        words => words,
    };
    let (name, value, always) = match words {
        [name, value] => (name, value, false),
        [name, value, always] if always == "always" => (name, value, true),
        _ => return Err("is not a name, a value and maybe 'always'"),
    };
    let name = HeaderName::try_from(name.to_lowercase()).map_err(|_| "has no header's name")?;
    let value = HeaderValue::try_from(value).map_err(|_| "has no header's value")?;
    Ok(AddedHeader { name, value, always })
}

/// The words of statements, as nginx reads them: between semicolons and white space, unless in
/// quotes.
fn statements(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut words): (Vec<Vec<String>>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut word, mut quote, mut escaped) = (None::<String>, None, false);
    for c in text.chars() {
        match (c, quote) {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            ('\\', _) => escaped = true,
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) if word.is_none() => {
                word = Some(String::new());
                quote = Some(c);
            }
            (c, None) if c == ';' || c.is_whitespace() => {
                words.extend(word.take());
                if c == ';' && !words.is_empty() {
                    all.push(std::mem::take(&mut words));
                }
            }
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if !words.is_empty() {
        all.push(words);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&[(&str, &str, bool)], &str>) {
        let all = statements(text);
        let found: Result<Vec<_>, _> =
            all.iter().enumerate().map(|(i, words)| header(i, words)).collect();
        let headers = found.map(|all| {
            let flat = |h: AddedHeader| {
                (h.name.to_string(), h.value.to_str().expect("text").to_owned(), h.always)
            };
            all.into_iter().map(flat).collect::<Vec<_>>()
        });
        let expect = expect.map(|all| {
            all.iter().map(|(n, v, a)| ((*n).to_owned(), (*v).to_owned(), *a)).collect::<Vec<_>>()
        });
        assert_eq!(headers, expect, "{text}");
    }

    #[test]
    fn directives_are_read_as_nginx_reads_them() {
        check("foo-header bar-value", Ok(&[("foo-header", "bar-value", false)]));
        check("X-A  \"max-age=1; b\" always;", Ok(&[("x-a", "max-age=1; b", true)]));
        check(
            "X-A 'it is'; add_header X-B it\\'s",
            Ok(&[("x-a", "it is", false), ("x-b", "it's", false)]),
        );
        check("", Ok(&[]));
        check("X-A", Err("is not a name, a value and maybe 'always'"));
        check("X-A b c", Err("is not a name, a value and maybe 'always'"));
        check("X-A b; gzip on", Err("has a directive that is no add_header"));
        check("X-A ''", Ok(&[("x-a", "", false)]));
        check("X(A) b", Err("has no header's name"));
    }
}
