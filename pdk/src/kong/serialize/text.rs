//! JSON that is written as it comes, without a tree.

use serde::Serialize;

/// How much memory a document takes, mostly.
const ROOM: usize = 2048;

/// JSON in the making. Names are those of members; items of lists have none.
pub(super) struct Text(Vec<u8>);

impl Default for Text {
    fn default() -> Text {
        Text(Vec::with_capacity(ROOM))
    }
}

impl Text {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// An object, filled by a function.
    pub(super) fn object(&mut self, name: Option<&str>, fill: impl FnOnce(&mut Text)) {
        self.begin(name);
        self.0.push(b'{');
        fill(self);
        self.0.push(b'}');
    }

    /// A list, filled by a function.
    pub(super) fn list(&mut self, name: &str, fill: impl FnOnce(&mut Text)) {
        self.begin(Some(name));
        self.0.push(b'[');
        fill(self);
        self.0.push(b']');
    }

    /// A text. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub(super) fn text(&mut self, name: &str, text: &[u8]) {
        self.begin(Some(name));
        self.quoted(text);
    }

    /// The same in a list.
    pub(super) fn item(&mut self, text: &[u8]) {
        self.begin(None);
        self.quoted(text);
    }

    pub(super) fn number(&mut self, name: &str, number: impl Into<u64>) {
        self.value(name, &number.into());
    }

    /// Anything; what is null is left out.
    pub(super) fn value(&mut self, name: &str, value: &impl Serialize) {
        let before = self.0.len();
        self.begin(Some(name));
        let at = self.0.len();
        // Memory takes all that is written.
        let _ = serde_json::to_writer(&mut self.0, value);
        if self.0.get(at..).is_some_and(|written| written == b"null") {
            self.0.truncate(before);
        }
    }

    /// What is JSON already.
    pub(super) fn json(&mut self, name: &str, json: &str) {
        self.begin(Some(name));
        self.0.extend_from_slice(json.as_bytes());
    }

    fn begin(&mut self, name: Option<&str>) {
        // No value ends with one of these.
        if !matches!(self.0.last(), None | Some(b'{' | b'[')) {
            self.0.push(b',');
        }
        if let Some(name) = name {
            self.quoted(name.as_bytes());
            self.0.push(b':');
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        let is_odd = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte > b'~');
        // All are looked at, which takes fewer instructions than to stop early.
        if text.iter().fold(false, |odd, byte| odd | is_odd(*byte)) {
            let _ = serde_json::to_writer(&mut self.0, &String::from_utf8_lossy(text));
            return;
        }
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_json() {
        let check = |fill: &dyn Fn(&mut Text), expect: &str| {
            let mut text = Text::default();
            text.object(None, |text| fill(text));
            assert_eq!(String::from_utf8_lossy(&text.into_bytes()), expect);
        };
        check(&|_| {}, "{}");
        check(&|text| text.text("a", b"b"), r#"{"a":"b"}"#);
        check(&|text| text.text("a", b"\"\\\n\xff"), "{\"a\":\"\\\"\\\\\\n\u{fffd}\"}");
        check(&|text| text.text("\"", "\u{e9}".as_bytes()), "{\"\\\"\":\"\u{e9}\"}");
        check(
            &|text| {
                text.value("none", &None::<u8>);
                text.value("minus", &-1);
                text.list("list", |list| [b"x", b"y"].iter().for_each(|item| list.item(*item)));
                text.object(Some("empty"), |_| {});
                text.value("none", &None::<u8>);
                text.json("json", "[1]");
                text.number("number", 7_u16);
            },
            r#"{"minus":-1,"list":["x","y"],"empty":{},"json":[1],"number":7}"#,
        );
    }
}
