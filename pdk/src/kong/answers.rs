//! The answers that are made here: what a plugin exits with, and errors in the form that the
//! client asked for (`kong/pdk/response.lua`, `kong/error_handlers.lua`, `kong/tools/http.lua`).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header::CONTENT_TYPE};

use super::headers;
use crate::{Answer, ErrorTemplates, Exchange, Phase, Source};

/// The media types that errors are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Html,
    Xml,
    Plain,
    /// gRPC asked for over something that is not gRPC: no body at all, as in Kong.
    Grpc,
}

impl Media {
    /// The media type of a range such as `text/*`; JSON for what errors are not written in.
    fn of(range: &str) -> Media {
        match range {
            "application/grpc" => Media::Grpc,
            "text/html" => Media::Html,
            "application/xml" => Media::Xml,
            "text/plain" | "text/*" => Media::Plain,
            _ => Media::Json,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Media::Json => "application/json; charset=utf-8",
            Media::Html => "text/html; charset=utf-8",
            Media::Xml => "application/xml; charset=utf-8",
            Media::Plain => "text/plain; charset=utf-8",
            Media::Grpc => "",
        }
    }

    /// The media type that a client likes best: the first of those of the highest quality.
    fn accepted(accept: &str) -> Media {
        let mut best = (0.0, Media::Json);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let Some(name) = parts.next().filter(|name| is_range(name)) else { continue };
            let quality = parts.find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(1.0))
            });
            let quality: f64 = quality.unwrap_or(1.0);
            if quality > best.0 {
                best = (quality, Media::of(name));
            }
        }
        best.1
    }

    /// The template that the settings give, if they do.
    fn template(self, templates: &ErrorTemplates) -> Option<&str> {
        let template = match self {
            Media::Json => &templates.json,
            Media::Html => &templates.html,
            Media::Xml => &templates.xml,
            Media::Plain => &templates.plain,
            Media::Grpc => &None,
        };
        template.as_deref()
    }

    /// A message as it may stand within a text of the type.
    fn quoted(self, message: &str) -> String {
        match self {
            Media::Json => {
                let text = serde_json::Value::from(message).to_string();
                text.get(1..text.len() - 1).unwrap_or_default().to_owned()
            }
            Media::Html | Media::Xml => escape_markup(message),
            Media::Plain | Media::Grpc => message.to_owned(),
        }
    }

    fn render(self, message: &str, request_id: &str) -> String {
        match self {
            Media::Json => {
                let message = serde_json::Value::from(message);
                format!("{{\n  \"message\":{message},\n  \"request_id\":\"{request_id}\"\n}}")
            }
            Media::Html => format!(
                "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    \
                 <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    \
                 <p>{}.</p>\n    <p>request_id: {request_id}</p>\n  </body>\n</html>\n",
                escape_markup(message)
            ),
            Media::Xml => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>{}</message>\n  \
                 <requestid>{request_id}</requestid>\n</error>\n",
                escape_markup(message)
            ),
            Media::Plain => format!("{message}\nrequest_id: {request_id}\n"),
            Media::Grpc => String::new(),
        }
    }
}

/// Puts message and id in the places of `%s`, the text of a format as Lua has it: `%%` is `%`.
fn fill(template: &str, message: &str, request_id: &str) -> String {
    let mut values = [message, request_id].into_iter();
    let mut out = String::with_capacity(template.len() + message.len() + request_id.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = match (after.strip_prefix('s'), after.strip_prefix('%')) {
            (Some(after), _) => {
                out.push_str(values.next().unwrap_or_default());
                after
            }
            (None, after_mark) => {
                out.push('%');
                after_mark.unwrap_or(after)
            }
        };
    }
    out + rest
}

fn is_range(name: &str) -> bool {
    let token = |part: &str| part == "*" || part.len() > 1;
    name.split_once('/').is_some_and(|(kind, rest)| token(kind) && token(rest))
}

fn escape_markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The answer to a request that the gateway refuses or can't serve. Its form is what the client
/// accepts; for those that name nothing: JSON for 404, 426, 503 and failures in the access
/// phase, else the request's content type, else `error_default_type`. Without a message it is
/// Kong's for the status.
pub fn error_answer(exchange: &Exchange, status: StatusCode, message: Option<&str>) -> Answer {
    let json_first = match status.as_u16() {
        404 | 426 | 503 => true,
        500 => exchange.phase == Phase::Access,
        _ => false,
    };
    let mut answer = if json_first {
        negotiated(exchange, status, message, HeaderMap::new())
    } else {
        server_error(exchange, status, message)
    };
    answer.source = Source::Error;
    answer
}

/// A native plugin's refusal: `kong.response.error` with a message.
pub fn refusal(exchange: &Exchange, status: StatusCode, message: &str) -> Answer {
    negotiated(exchange, status, Some(message), HeaderMap::new())
}

/// The web server's error page, which Kong writes too (`kong/error_handlers.lua`): Accept, then
/// the request's content type, then `error_default_type` decide.
fn server_error(exchange: &Exchange, status: StatusCode, message: Option<&str>) -> Answer {
    let request = &exchange.request.headers;
    let wanted = all_lines(request, "accept").or_else(|| all_lines(request, "content-type"));
    let wanted = wanted.unwrap_or_else(|| exchange.view.node().error_default_type.clone());
    let message = message.map_or_else(|| default_message(status), str::to_owned);
    let shown = if status.as_u16() == 494 { StatusCode::BAD_REQUEST } else { status };
    if is_grpc(exchange) {
        return grpc(shown, message, HeaderMap::new());
    }
    if wanted.starts_with("application/grpc") {
        // gRPC over HTTP/1, as from gRPC-Web: JSON, without the request's id.
        return Answer::json(shown, &serde_json::json!({ "message": message }));
    }
    rendered(exchange, shown, Media::accepted(&wanted), &message)
}

/// `kong.response.error`: the client's Accept decides, without one it is JSON; a content type
/// among the headers stands above both.
pub(super) fn negotiated(
    exchange: &Exchange,
    status: StatusCode,
    message: Option<&str>,
    headers: HeaderMap,
) -> Answer {
    let message = message.map_or_else(|| default_message(status), str::to_owned);
    let given = headers.get(CONTENT_TYPE).map(|given| String::from_utf8_lossy(given.as_bytes()));
    let grpc_typed = given.as_ref().map(|given| given.starts_with("application/grpc"));
    if grpc_typed.unwrap_or_else(|| is_grpc(exchange)) {
        return grpc(status, message, headers);
    }
    let media = match given {
        Some(given) => Media::of(given.split(';').next().unwrap_or_default().trim()),
        None => all_lines(&exchange.request.headers, "accept")
            .map_or(Media::Json, |accept| Media::accepted(&accept)),
    };
    let mut answer = rendered(exchange, status, media, &message);
    answer.headers.extend(headers);
    answer
}

fn rendered(exchange: &Exchange, status: StatusCode, media: Media, message: &str) -> Answer {
    let id = exchange.request.id.as_str();
    let body = match media.template(&exchange.view.node().error_templates) {
        Some(template) => fill(template, &media.quoted(message), id),
        None => media.render(message, id),
    };
    let content_type = HeaderValue::from_static(media.content_type());
    Answer::new(status, body).with(CONTENT_TYPE, content_type)
}

/// All lines of a header, joined.
fn all_lines(headers: &HeaderMap, name: &'static str) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// Whether the request is a gRPC call.
pub(super) fn is_grpc(exchange: &Exchange) -> bool {
    exchange.request.version == Version::HTTP_2
        && headers::text(&exchange.request.headers, "content-type")
            .is_some_and(|content_type| content_type.starts_with("application/grpc"))
}

/// A gRPC answer without messages: what happened stands in its headers.
pub(super) fn grpc(status: StatusCode, message: impl Into<Bytes>, headers: HeaderMap) -> Answer {
    let mut answer = Answer::new(status, Bytes::new());
    answer.headers = headers;
    set_default(&mut answer.headers, "content-type", b"application/grpc");
    let code = grpc_status(status.as_u16());
    set_default(&mut answer.headers, "grpc-status", code.to_string().as_bytes());
    let message = message.into();
    let message = if message.is_empty() { Bytes::from_static(grpc_name(code)) } else { message };
    set_default(&mut answer.headers, "grpc-message", &message);
    answer
}

fn set_default(headers: &mut HeaderMap, name: &'static str, value: &[u8]) {
    headers.entry(HeaderName::from_static(name)).or_insert_with(|| headers::to_value(value));
}

fn grpc_status(status: u16) -> u8 {
    match status {
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 6,
        429 => 8,
        499 => 1,
        501 => 12,
        503 => 14,
        504 => 4,
        200..=299 => 0,
        400..=499 => 3,
        500..=599 => 13,
        _ => 2,
    }
}

fn grpc_name(code: u8) -> &'static [u8] {
    match code {
        0 => b"OK",
        1 => b"Canceled",
        3 => b"InvalidArgument",
        4 => b"DeadlineExceeded",
        5 => b"NotFound",
        6 => b"AlreadyExists",
        7 => b"PermissionDenied",
        8 => b"ResourceExhausted",
        12 => b"Unimplemented",
        13 => b"Internal",
        14 => b"Unavailable",
        16 => b"Unauthenticated",
        _ => b"Unknown",
    }
}

/// Gives an answer without a body ([`Answer::body`] none) the page that goes with its status:
/// for most errors one in the form that the client accepts, for redirects and the rest the web
/// server's own HTML, nothing where there is no page.
pub fn complete_answer(exchange: &Exchange, mut answer: Answer) -> Answer {
    if answer.body.is_some() {
        return answer;
    }
    let status = answer.status.as_u16();
    if matches!(status, 400 | 404 | 405 | 408 | 411..=414 | 417 | 494 | 500 | 502..=504) {
        let mut page = server_error(exchange, answer.status, None);
        page.source = answer.source;
        page.headers.extend(std::mem::take(&mut answer.headers));
        return page;
    }
    match default_page(answer.status) {
        Some(page) => {
            let plain = matches!(status, 301..=303);
            let content_type = if plain { "text/html" } else { "text/html; charset=UTF-8" };
            answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            answer.body = Some(page.into());
        }
        None => answer.body = Some(Bytes::new()),
    }
    answer
}

/// The web server's own page for a status, HTML; none where it has none.
pub fn default_page(status: StatusCode) -> Option<String> {
    let reason = match status.as_u16() {
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Authorization Required",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => return None,
    };
    let title = format!("{} {reason}", status.as_u16());
    Some(format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    ))
}

/// Kong's message for an error of that status.
pub fn default_message(status: StatusCode) -> String {
    let message = match status.as_u16() {
        400 => "Bad request",
        401 => "Unauthorized",
        402 => "Payment required",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        406 => "Not acceptable",
        407 => "Proxy authentication required",
        408 => "Request timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length required",
        412 => "Precondition failed",
        413 => "Payload too large",
        414 => "URI too long",
        415 => "Unsupported media type",
        416 => "Range not satisfiable",
        417 => "Expectation failed",
        418 => "I'm a teapot",
        421 => "Misdirected request",
        422 => "Unprocessable entity",
        423 => "Locked",
        424 => "Failed dependency",
        425 => "Too early",
        426 => "Upgrade required",
        428 => "Precondition required",
        429 => "Too many requests",
        431 => "Request header fields too large",
        451 => "Unavailable for legal reasons",
        494 => "Request header or cookie too large",
        500 => "An unexpected error occurred",
        501 => "Not implemented",
        502 => "An invalid response was received from the upstream server",
        503 => "The upstream server is currently unavailable",
        504 => "The upstream server is timing out",
        505 => "HTTP version not supported",
        506 => "Variant also negotiates",
        507 => "Insufficient storage",
        508 => "Loop detected",
        510 => "Not extended",
        511 => "Network authentication required",
        other => return format!("The upstream server responded with {other}"),
    };
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_as_lua_does() {
        let check = |template: &str, expect: &str| {
            assert_eq!(fill(template, "no %s", "id"), expect, "{template}");
        };
        check("<%s|%s>", "<no %s|id>");
        check("%s", "no %s");
        check("100%% %s 5% %d", "100% no %s 5% %d");
        check("%s %s %s%", "no %s id %");
        check("nothing", "nothing");
    }

    #[test]
    fn messages_stay_within_their_texts() {
        let message = "a \"b\" <c> & d\"";
        assert_eq!(Media::Json.quoted(message), "a \\\"b\\\" <c> & d\\\"");
        assert_eq!(Media::Xml.quoted(message), "a \"b\" &lt;c&gt; &amp; d\"");
        assert_eq!(Media::Plain.quoted(message), message);
    }
}
